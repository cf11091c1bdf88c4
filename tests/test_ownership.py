"""What offsite did not write it does not remove."""

from pathlib import Path

import pytest

from offsite.errors import InputError
from offsite.files import file_digest
from offsite.ownership import refuse_link, refuse_strangers, remove_named, remove_written


def test_only_what_is_as_it_was_written_is_removed(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_text(name)
    digests = {name: file_digest(tmp_path / name) for name in ("a", "b")}
    (tmp_path / "b").write_text("mine")
    with pytest.raises(InputError, match="something that offsite did not write") as refused:
        remove_written(tmp_path, digests)
    assert (refused.value.code, refused.value.file) == ("not_ours", str(tmp_path / "b"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"], "all or nothing"
    remove_written(tmp_path, {"a": digests["a"], "gone": digests["b"]})
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def test_links_and_folders_of_a_named_file_stay(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    (folder / "folder").mkdir(parents=True)
    (tmp_path / "thesis.tex").write_text("x")
    (folder / "link").symlink_to(tmp_path / "thesis.tex")
    (folder / "file").write_text("ours")
    remove_named(folder, ("folder", "link", "file", "absent"))
    assert sorted(path.name for path in folder.iterdir()) == ["folder", "link"]


def test_a_linked_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "target")
    for attempt in (refuse_link, lambda path: remove_named(path, ("x",))):
        with pytest.raises(InputError) as refused:
            attempt(tmp_path / "link")
        assert refused.value.code == "linked_folder"
    refuse_link(tmp_path / "target")


def test_a_dangling_link_stands_in_the_way_too(tmp_path: Path) -> None:
    (tmp_path / "x").symlink_to(tmp_path / "absent")
    with pytest.raises(InputError):
        refuse_strangers(tmp_path, ("y", "x"))

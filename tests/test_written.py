"""A file that stands alone is written only over what offsite itself wrote there."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from offsite.errors import InputError
from offsite.files import file_digest
from offsite.written import (
    LIST,
    check_own,
    check_unchanged,
    enter,
    is_own,
    listed,
    strike,
    write_own,
)


def test_ours_is_replaced_and_what_others_wrote_or_changed_stays(tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    for text in ("one", "two", "three"):
        write_own(table, text)
        assert table.read_text() == text
    for other in ("three, seen by Dr A", ""):
        table.write_text(other)
        with pytest.raises(InputError) as refused:
            write_own(table, "four")
        assert (refused.value.code, refused.value.file) == ("not_ours", str(table))
        assert table.read_text() == other
    table.write_text("two")  # as we once wrote it: a backup put back
    write_own(table, "four")
    assert table.read_text() == "four"


@pytest.mark.parametrize("what", ["file", "link", "dangling", "folder", "pipe"])
def test_whatever_stands_there_before_us_stays(tmp_path: Path, what: str) -> None:
    target = tmp_path / "page.html"
    (tmp_path / "thesis.tex").write_text("x")
    {
        "file": lambda: target.write_text("mine"),
        "link": lambda: target.symlink_to(tmp_path / "thesis.tex"),
        "dangling": lambda: target.symlink_to(tmp_path / "absent"),
        "folder": target.mkdir,
        "pipe": lambda: os.mkfifo(target),
    }[what]()
    before = target.lstat()
    with pytest.raises(InputError, match="Move it"):
        write_own(target, "ours")
    after = target.lstat()
    assert (after.st_ino, after.st_mode, after.st_size) == (
        before.st_ino, before.st_mode, before.st_size,
    )  # fmt: skip
    assert (tmp_path / "thesis.tex").read_text() == "x"
    assert not list(tmp_path.glob(".page*.tmp"))


def test_a_kill_between_entry_and_renaming_does_no_harm(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    write_own(file, "old")
    enter(file, "0" * 64)  # of what never got its name
    write_own(file, "new")
    assert file.read_text() == "new"


def test_a_damaged_list_vouches_for_nothing_and_is_mended(tmp_path: Path) -> None:
    file, listed = tmp_path / "a.csv", tmp_path / LIST
    write_own(file, "ours")
    whole = listed.read_bytes()
    listed.write_bytes(whole[:-9])
    assert not is_own(file)
    listed.write_bytes(b"[[[[\n\0\xff\n{}\n" + whole[:-9])
    file.unlink()
    write_own(file, "again")
    assert is_own(file)
    listed.unlink()
    listed.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError):
        write_own(tmp_path / "b.csv", "ours")
    assert not (tmp_path / "elsewhere").exists()


def test_a_file_that_is_struck_is_gone_with_its_name_and_others_stay(tmp_path: Path) -> None:
    for name in ("a.csv", "b.csv"):
        write_own(tmp_path / name, name)
    strike(tmp_path / "a.csv")
    assert not (tmp_path / "a.csv").exists()
    assert listed(tmp_path) == ("b.csv",)
    assert listed(tmp_path / "none") == ()
    assert is_own(tmp_path / "b.csv")
    strike(tmp_path / "a.csv")  # a second time there is nothing to do
    write_own(tmp_path / "a.csv", "again")
    (tmp_path / "a.csv").write_text("again, seen by Dr A")
    with pytest.raises(InputError, match="Move it"):
        strike(tmp_path / "a.csv")
    assert (tmp_path / "a.csv").read_text() == "again, seen by Dr A"
    assert "a.csv" in (tmp_path / LIST).read_text()


def test_names_of_all_kinds_are_listed(tmp_path: Path) -> None:
    for name in (
        "a b.csv",
        "zeile\num.csv",
        "Müller.csv",
        "Mu\u0308ller.csv",
        '"{x}".csv',
        "a" * 200,
    ):
        write_own(tmp_path / name, name)
        write_own(tmp_path / name, "again")
        assert is_own(tmp_path / name)
    entries = [json.loads(line) for line in (tmp_path / LIST).read_text().splitlines()]
    assert [file_digest(tmp_path / "a b.csv"), "a b.csv"] in entries


def test_processes_that_write_at_once_all_stand_in_the_list(tmp_path: Path) -> None:
    code = (
        "import sys; from offsite.written import write_own\n"
        "for n in range(40): write_own(f'{sys.argv[1]}/{sys.argv[2]}-{n}.csv', 'x' * 50)"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", code, tmp_path, name]) for name in ("a", "b", "c")
    ]
    assert [each.wait() for each in running] == [0, 0, 0]
    files = sorted(tmp_path.glob("*.csv"))
    assert len(files) == 120
    assert all(map(is_own, files))


def test_what_no_list_names_passes_only_the_milder_check(tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    file.write_text("of an earlier version")
    check_unchanged(file)
    with pytest.raises(InputError):
        check_own(file)
    file.unlink()
    write_own(file, "ours")
    file.write_text("changed")
    with pytest.raises(InputError):
        check_unchanged(file)

"""The model package: read back exactly, refused by name when anything in it was touched."""

import hashlib
import json
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from offsite.errors import InputError
from offsite.workflows.package.folder import (
    export_package,
    load_package,
    load_record,
    write_package,
)
from offsite.workflows.package.verification import CONTENT, SUMS, ModelRefused, verify_package
from tests.workflows.command import offsite
from tests.workflows.packages import small_package, small_record, small_weights


@pytest.fixture
def package(tmp_path: Path) -> Path:
    return small_package(tmp_path / "package")


def resealed(folder: Path) -> None:
    """Make the sums fit again, as an attacker would."""
    lines = [f"{hashlib.sha256((folder / n).read_bytes()).hexdigest()}  {n}\n" for n in CONTENT]
    (folder / SUMS).write_text("".join(lines))


def test_what_was_written_is_read_back(package: Path) -> None:
    loaded = load_package(package)
    assert loaded.record == small_record()
    for name, tensor in small_weights().items():
        assert torch.equal(loaded.weights[name], tensor)
    assert np.array_equal(loaded.arrays("ood")["means"], np.eye(3))
    assert loaded.reference["n"] == 3
    assert loaded.digest == verify_package(package) == load_record(package)[1]


def test_the_same_model_has_the_same_bytes(package: Path, tmp_path: Path) -> None:
    assert verify_package(small_package(tmp_path / "again")) == verify_package(package)
    assert verify_package(export_package(package, tmp_path / "copy")) == verify_package(package)


@pytest.mark.parametrize("name", [*CONTENT, SUMS])
@pytest.mark.parametrize("where", [0.0, 0.37, 1.0])
def test_one_changed_byte_is_refused_by_name(package: Path, name: str, where: float) -> None:
    content = bytearray((package / name).read_bytes())
    content[int(where * (len(content) - 1))] ^= 1
    (package / name).write_bytes(bytes(content))
    for check in (verify_package, load_package, load_record):
        with pytest.raises(ModelRefused, match=name):
            check(package)


def test_missing_and_foreign_files_and_links_are_refused(package: Path, tmp_path: Path) -> None:
    (package / "more.pkl").write_bytes(b"")
    with pytest.raises(ModelRefused, match=r"more\.pkl"):
        load_package(package)
    (package / "more.pkl").unlink()
    (package / "card.md").rename(tmp_path / "card.md")
    with pytest.raises(ModelRefused, match=r"card\.md is missing"):
        load_package(package)
    (package / "card.md").symlink_to(tmp_path / "card.md")
    with pytest.raises(ModelRefused, match=r"card\.md is not a plain file"):
        load_package(package)


def test_a_wrong_path_is_not_a_package_that_is_refused(tmp_path: Path) -> None:
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "dear.txt").touch()
    for name in ("none", "letters"):
        with pytest.raises(InputError, match="no such model package") as caught:
            load_package(tmp_path / name)
        assert not isinstance(caught.value, ModelRefused)
    done = offsite("model", "verify", tmp_path / "none")
    assert done.returncode == 2
    assert "no such model package" in done.stderr


class Bomb:
    """Unpickling this leaves a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return os.mkdir, (str(self.path),)


def test_a_pickle_is_never_opened_even_where_the_sums_fit(package: Path, tmp_path: Path) -> None:
    trace = tmp_path / "executed"
    pickled = pickle.dumps(Bomb(trace))
    original = (package / "weights.safetensors").read_bytes()
    (package / "weights.safetensors").write_bytes(pickled)
    resealed(package)
    with pytest.raises(ModelRefused, match="safetensors"):
        load_package(package)
    (package / "weights.safetensors").write_bytes(original)
    objects = np.array([Bomb(trace)], dtype=object)
    np.savez(package / "reference.npz", allow_pickle=True, objects=objects)
    resealed(package)
    with pytest.raises(ModelRefused, match="reference"):
        load_package(package)
    with zipfile.ZipFile(package / "reference.npz", "w") as archive:
        archive.writestr("x.npy", pickled)
    resealed(package)
    with pytest.raises(ModelRefused, match="reference"):
        load_package(package)
    assert not trace.exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"schema_version": 3}, "schema_version"),
        ({"surprise": 1}, "surprise"),
        ({"classes": ["none"]}, "classes"),
        ({"architecture": {"name": "tiny", "path": "os.system"}}, "architecture.path"),
    ],
)
def test_a_record_that_does_not_validate_is_refused(
    package: Path, change: dict[str, object], words: str
) -> None:
    record = json.loads((package / "model.json").read_text())
    (package / "model.json").write_text(json.dumps({**record, **change}))
    resealed(package)
    with pytest.raises(ModelRefused, match=words):
        load_package(package)


@pytest.mark.parametrize(
    "change",
    [
        {"classes": ("none", "none", "severe")},
        {"decision": {"positive": ("nothing",)}},
        {"decision": {"positive": ("none", "mild", "severe")}},
        {"decision": {"positive": ("mild",), "urgent": ("severe",)}},
        {"profiles": {}},
        {"profiles": {"_pooled": {"role": "pooled", "n": 1, "calibration": "south"}}},
        {"mpp": float("nan")},
    ],
)
def test_a_contradictory_record_cannot_be_made(change: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        small_record(**change)


def test_only_a_package_is_replaced(package: Path, tmp_path: Path) -> None:
    small_package(package, name="newer")
    assert load_record(package)[0].name == "newer"
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="not a model package"):
        small_package(other)
    assert (other / "thesis.txt").exists()
    (package / "notes.txt").write_text("read by hand")
    with pytest.raises(InputError, match=r"not a model package \(notes\.txt\)"):
        small_package(package)
    assert (package / "notes.txt").exists()
    with pytest.raises(InputError, match="not a model package"):
        small_package(other / "thesis.txt")
    with pytest.raises(InputError, match="holds objects"):
        write_package(
            tmp_path / "bad", small_record(), small_weights(), {"x": np.array([None], dtype=object)}
        )
    assert not (tmp_path / "bad").exists()


def test_the_card_says_what_is_known_and_what_is_not(package: Path) -> None:
    card = (package / "card.md").read_text()
    for words in (
        "Research use only",
        "To be filled in",
        "0.900 (0.800 to 0.950)",
        "undefined (single class)",
        "validation rows of the training sites",
        "&lt;script>",
    ):
        assert words in card
    assert "<script>" not in card


def test_a_site_without_a_profile_has_the_pooled_one() -> None:
    record = small_record()
    assert record.profile_of("north")[0] == "north"
    assert record.profile_of("south")[0] == "_pooled"
    assert record.profile_of("_pooled")[1].role == "pooled"

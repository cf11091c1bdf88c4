"""The doctor tries the real thing, and says what to do where it fails."""

import re
import sys
from pathlib import Path

import pytest

from offsite.training.trials import installed
from offsite.workflows import doctor


def test_this_machine_is_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_database", lambda uri: "tried in the tests of tracking")
    findings = {finding.name: finding for finding in doctor.examine(tmp_path / "not" / "yet")}
    for name in ("processor", "slides", "JPEG", "features (HDF5)", "weights", "disk"):
        assert findings[name].works, findings[name]
    assert not (tmp_path / "not").exists()


def test_what_is_missing_comes_with_its_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    monkeypatch.setattr(doctor, "LEAST_DISK_GIB", 1e9)
    findings = {finding.name: finding for finding in doctor.examine(tmp_path, "ftp://not/a/store")}
    assert findings["kinds of images"].told == "slides, photographs"
    assert not findings["features (HDF5)"].works
    assert findings["features (HDF5)"].remedy == "Install h5py"
    assert "fewer than" in findings["disk"].told
    assert "not a tracking store" in findings["tracking database"].told
    assert findings["slides"].works, "one failure does not hide the rest"


def test_a_package_is_told_by_the_name_that_it_is_imported_by() -> None:
    assert re.fullmatch(r"cv2 \d+\.\d+.*", installed("cv2"))
    with pytest.raises(RuntimeError, match="no_such_package is not installed"):
        installed("no_such_package")

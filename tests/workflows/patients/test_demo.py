"""The demo's step in which a patient withdraws, and the demo run again after it."""

from pathlib import Path

import pytest

from offsite.workflows.demo.withdrawing import PATIENT, forget_one

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def test_the_patient_of_the_demo_is_forgotten_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    forget_one(tmp_path / "withdrawal")
    said = capsys.readouterr().out
    assert f"{PATIENT} withdrew" in said
    assert "0 of them do beside" in said
    results = tmp_path / "withdrawal" / "results"
    holding = [
        path for path in results.rglob("*")
        if path.is_file() and PATIENT.encode() in path.name.encode() + path.read_bytes()
    ]  # fmt: skip
    assert holding == []
    forget_one(tmp_path / "withdrawal")
    assert "forgotten when the demo was run before" in "".join(capsys.readouterr())

"""One writer at a time; where a file system has no locks, the work goes on."""

import errno
import fcntl
import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest

from offsite.errors import InputError
from offsite.locks import PREFIX, alone, writing

HOLD = """
import sys
from offsite.locks import writing
with writing(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_the_second_writer_is_told_who_holds_the_folder_and_since_when(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(InputError) as refused, writing(tmp_path):
            pass
        other.kill()
    assert refused.value.code == "folder_in_use"
    assert f"process {other.pid} on " in refused.value.problem
    assert ", since 20" in refused.value.problem
    with writing(tmp_path):  # the lock went with its process
        assert json.loads((tmp_path / PREFIX).read_text())["process"] != other.pid


def test_a_stage_may_call_another_that_holds_the_same_folder(tmp_path: Path) -> None:
    with writing(tmp_path), writing(tmp_path):
        pass
    with writing(tmp_path):
        pass


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL])
def test_a_file_system_without_locks_is_used_without_and_said_once(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def none(handle: int, how: int) -> None:
        raise OSError(number, "no locks available")

    monkeypatch.setattr(fcntl, "flock", none)
    with caplog.at_level(logging.WARNING, "offsite.locks"):
        for _ in range(3):
            with writing(tmp_path), alone(tmp_path / "x.lock"):
                pass
    assert len(caplog.records) == 1
    assert "going on without" in caplog.text


def test_a_link_in_place_of_the_lock_is_not_followed(tmp_path: Path) -> None:
    thesis = tmp_path / "thesis.tex"
    thesis.write_text("x")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / PREFIX).symlink_to(thesis)
    with pytest.raises(InputError) as refused, writing(tmp_path / "out"):
        pass
    assert refused.value.code == "not_writable"
    assert thesis.read_text() == "x"

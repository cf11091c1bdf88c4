"""What root's servers run on lies in a folder that nobody else could have prepared."""

import os
import subprocess
from pathlib import Path

import pytest

CLUSTERS = Path(__file__).parents[3] / "workflows" / "clusters"
LEFT_BY_OTHERS = "export OFFSITE_TRAP=$(touch {trap})\n"


def ran(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(word) for word in words], capture_output=True, text=True, timeout=60, check=False
    )


def sourced(line: str) -> subprocess.CompletedProcess[str]:
    start = f'fail() {{ echo "$*" >&2; exit 1; }}; source {CLUSTERS}/own-folder.sh; '
    return ran("bash", "-euc", start + line)


def test_a_folder_is_made_for_its_owner(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    assert sourced(f"own_folder {folder}").returncode == 0
    assert folder.stat().st_mode & 0o777 == 0o711
    assert sourced(f"own_folder {folder}").returncode == 0


@pytest.mark.parametrize("mode", [0o777, 0o775, 0o757, 0o1777])
def test_a_folder_that_others_may_write_is_refused(mode: int, tmp_path: Path) -> None:
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(mode)
    done = sourced(f"own_folder {folder}")
    assert (done.returncode, "written by others" in done.stderr) == (1, True)


def test_a_link_and_another_owners_folder_are_refused(tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(real)
    assert "is a link" in sourced(f"own_folder {tmp_path}/link").stderr
    if os.getuid() == 0:
        os.chown(real, 65534, 65534)
        assert "belongs to" in sourced(f"own_folder {real}").stderr


@pytest.mark.parametrize("script", ["mlflow-server", "slurm-node"])
def test_nothing_of_a_prepared_folder_is_run(script: str, tmp_path: Path) -> None:
    folder, trap = tmp_path / "prepared", tmp_path / "trap"
    folder.mkdir()
    for name in ("environment", "slurm.conf", "database.password"):
        (folder / name).write_text(LEFT_BY_OTHERS.format(trap=trap))
    folder.chmod(0o777)
    for action in ("start", "stop"):
        done = ran(CLUSTERS / script, action, folder)
        assert (done.returncode, "written by others" in done.stderr) == (1, True)
    assert not trap.exists()


def test_a_password_is_made_once_and_read_from_ones_own_file_alone(tmp_path: Path) -> None:
    file = tmp_path / "password"
    first = sourced(f"secret {file}").stdout
    assert len(first.strip()) == 32
    assert file.stat().st_mode & 0o777 == 0o600
    assert sourced(f"secret {file}").stdout == first
    file.chmod(0o666)
    assert sourced(f"secret {file}").returncode == 1
    (tmp_path / "link").symlink_to(file)
    assert sourced(f"secret {tmp_path}/link").returncode == 1

"""Fixtures that every room's tests share."""

import os
import shutil
import signal
from pathlib import Path

import pytest

# Two test processes share two cores: one thread each is faster than four that fight.
for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

# A shell lets what it starts in the background ignore interrupts, and all that is started from there. A
# stage under test would go on to its end, as it should, but tests interrupt themselves and their children.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest, so that no process waits for another's last file."""
    long = ("workflows", "training", "pathology")
    items.sort(
        key=lambda item: next((n for n, name in enumerate(long) if name in item.path.parts), 9)
    )


DATA = Path(os.environ.get("OFFSITE_DATA", Path(__file__).parents[2] / "shared" / "data"))


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real images; tests that need it skip where it is absent."""
    if not DATA.is_dir():
        pytest.skip(f"no real data at {DATA} (set OFFSITE_DATA)")
    return DATA


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated tracking database, made once and copied for every test: it costs seconds."""
    from offsite.evaluation.tracking.store import initialise

    database = tmp_path_factory.mktemp("tracking") / "template.db"
    initialise(f"sqlite:///{database}")
    return database


@pytest.fixture
def store(migrated: Path, tmp_path: Path) -> str:
    """A tracking store of the test's own."""
    shutil.copy(migrated, tmp_path / "mlflow.db")
    return f"sqlite:///{tmp_path / 'mlflow.db'}"

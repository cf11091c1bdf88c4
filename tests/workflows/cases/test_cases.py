"""Small inputs that failed once, one folder a kind: run by `make cases`, which prints a table.

The folders lie outside the project (``OFFSITE_CASES``); each right value is also a test of the
project's own, on data of its own making. A folder without a check here is named and skipped.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.workflows.cases import meanings, others, outputs
from tests.workflows.cases.bench import Bench
from tests.workflows.conftest import FundusRun

CASES = Path(os.environ.get("OFFSITE_CASES", Path(__file__).parents[4] / "shared" / "cases"))
FOLDERS = sorted(path.name for path in CASES.iterdir() if path.is_dir()) if CASES.is_dir() else []
CHECKS: dict[str, Callable[[Bench], str]] = {
    "braces": meanings.braces,
    "case-folder-deletes": outputs.case_folder_deletes,
    "changed-while-read": others.changed_while_read,
    "damaged-slide-aborts": others.damaged_slide,
    "dicom-flat-folder": others.dicom_flat_folder,
    "dicom-loops": others.dicom_loops,
    "permissions": others.permissions,
    "slow-pictures": others.slow_pictures,
    "eye-placeholder": meanings.eye_placeholder,
    "fifo-and-links": outputs.fifo_and_links,
    "header-spelling": meanings.header_spelling,
    "label-spelling": meanings.label_spelling,
    "late-checks": meanings.late_checks,
    "no-locks": outputs.no_locks,
    "onboarding-few-positives": meanings.onboarding,
    "patient-placeholder": meanings.patient_placeholder,
    "predict-tables": outputs.predict_tables,
    "run-json-in-input": outputs.run_json_in_input,
    "thumbnails": meanings.thumbnails,
    "two-eyes-one-picture": meanings.two_eyes,
    "two-trainings": meanings.two_trainings,
    "yaml-key-twice": meanings.yaml_key_twice,
}
# Told as they stand: one that fails is in the table, and is no failure of this test.
AS_THEY_STAND: dict[str, Callable[[Bench], str]] = {
    "dicom-photograph": others.dicom_photograph,
    "evaluate-constant": others.evaluate_constant,
    "pictures": others.pictures,
    "served-paths": others.needs_a_server,
    "tampered-registry": others.needs_a_server,
}
pytestmark = pytest.mark.slow
_table: list[tuple[str, str, str, str]] = []


@pytest.fixture(scope="module", autouse=True)
def printed() -> Iterator[None]:
    """Print the table of all cases at the end."""
    yield
    if _table:
        widths = [max(len(row[column]) for row in _table) for column in range(3)]
        print()
        for row in sorted(_table):
            cells = zip(row, [*widths, 0], strict=True)
            print("  ".join(text.ljust(width) for text, width in cells))


@pytest.mark.skipif(not FOLDERS, reason=f"no cases at {CASES} (set OFFSITE_CASES)")
@pytest.mark.parametrize("name", FOLDERS or ["none"])
def test_case(
    name: str, fundus_run: FundusRun, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    case = CASES / name
    before = " ".join((case / "README.md").read_text(encoding="utf-8").split())
    before = before.removeprefix("`make.py`").strip(" :(prints)")[:80]
    check = CHECKS.get(name) or AS_THEY_STAND.get(name)
    if check is None:
        _table.append((name, before, "", "no check here"))
        pytest.skip("no check of this case here")
    bench = Bench(
        tmp_path,
        case,
        fundus_run.package,
        lambda: request.getfixturevalue("slide_run").package,
        tuple(sorted(fundus_run.cohort.parent.rglob("*.jpg"))),
    )
    try:
        after = check(bench)
    except pytest.skip.Exception as why:
        _table.append((name, before, str(why), "skipped"))
        raise
    except BaseException as error:
        told = " ".join(str(error).split())[:70]
        if name in CHECKS or not isinstance(error, Exception):
            _table.append((name, before, told, "WRONG"))
            raise
        _table.append((name, before, told, "wrong today"))
        pytest.xfail(told)
    _table.append((name, before, after, "right"))

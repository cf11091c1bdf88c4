"""One schema of each table serves writer, reader and docs."""

import importlib.util
from pathlib import Path

import pandas as pd
import pytest

from offsite.evaluation.evaluating import Evaluation
from offsite.evaluation.tables.columns import KIND_OF, VOCABULARY
from offsite.evaluation.tables.reading import read_table, write_table
from offsite.evaluation.tables.schemas import SCHEMAS

DOCS = Path(__file__).parents[3] / "docs"


def test_a_name_is_of_one_kind_and_every_column_has_a_meaning() -> None:
    names = [name for kind in VOCABULARY.values() for name in kind]
    assert len(names) == len(set(names))
    for schema in SCHEMAS.values():
        assert set(schema.columns) <= KIND_OF.keys(), schema.name
        assert set(schema.told) <= set(schema.columns), schema.name
        assert len(set(schema.columns)) == len(schema.columns), schema.name
    assert set(KIND_OF) == {name for schema in SCHEMAS.values() for name in schema.columns}


@pytest.mark.parametrize("name", SCHEMAS)
def test_what_a_schema_writes_reads_back(name: str, tmp_path: Path) -> None:
    schema = SCHEMAS[name]
    cells = {"text": "=a", "number": 0.5, "count": 3, "truth": True}
    made = schema.frame([{column: cells[KIND_OF[column]] for column in schema.columns}])
    write_table(tmp_path / f"{name}.csv", made)
    back = read_table(tmp_path / f"{name}.csv")
    pd.testing.assert_frame_equal(back, made, check_dtype=False)
    empty = schema.frame([{}])
    for column in schema.columns:
        assert empty[column].isna().all() == (KIND_OF[column] != "text")


def test_an_evaluation_writes_the_tables_of_the_schemas(evaluated: Evaluation) -> None:
    for file in evaluated.folder.glob("*.csv"):
        schema = SCHEMAS[file.stem]
        columns = tuple(read_table(file).columns)
        assert columns[: len(schema.columns)] == schema.columns
        assert all(
            schema.more and c.startswith(schema.more) for c in columns[len(schema.columns) :]
        )


def test_the_page_of_tables_is_made_from_the_code() -> None:
    spec = importlib.util.spec_from_file_location("tables_page", DOCS / "tables_page.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    written = (DOCS / "evaluation" / "tables.md").read_text(encoding="utf-8")
    assert written == module.page(), "run `make pages`"


@pytest.fixture(scope="module")
def evaluated(make_sites, tmp_path_factory: pytest.TempPathFactory) -> Evaluation:
    from offsite.evaluation.evaluating import evaluate
    from offsite.evaluation.report.settings import ReportSettings

    settings = ReportSettings.model_validate(
        {
            "metrics": {"resamples": 100, "calibration_simulations": 50},
            "ood": {"detectors": ["msp"], "resamples": 50},
            "shift": {"permutations": 19, "resamples": 50, "null_splits": 19},
        }
    )
    predictions = make_sites({"a": 200, "b": 200, "away": 80}, held_out=("away",), classes=2)
    return evaluate(predictions, tmp_path_factory.mktemp("schemas") / "e", settings)

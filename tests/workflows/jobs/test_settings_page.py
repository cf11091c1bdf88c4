"""The settings page and the schema say what the models say, and the demos' files fit the schema."""

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from offsite.workflows.jobs.settings_page import JOBS, page, schema, settings_of

ROOT = Path(__file__).parents[3]


def test_the_page_is_up_to_date() -> None:
    assert (ROOT / "docs" / "settings.md").read_text() == page(), (
        "run: offsite workflow settings > docs/settings.md"
    )


def test_the_schema_is_up_to_date() -> None:
    kept = ROOT / "workflows" / "pipeline" / "schemas" / "configuration.schema.json"
    assert kept.read_text() == schema(), f"run: offsite workflow schema > {kept.relative_to(ROOT)}"


@pytest.mark.parametrize("task", JOBS)
def test_every_setting_has_a_meaning(task: str) -> None:
    silent = [name for name, _, meaning in settings_of(JOBS[task]) if not meaning]
    assert not silent


def test_the_schema_accepts_a_job_and_refuses_a_misspelt_one() -> None:
    job = yaml.safe_load("{task: retina, cohort: c.csv, classes: [a, b], preparation: {px: 64}}")
    jsonschema.validate(job, json.loads(schema()))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(job | {"cohrt": "c.csv"}, json.loads(schema()))

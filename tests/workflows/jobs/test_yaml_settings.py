"""Settings files: read whole, overridden by name, and refused with the name of the fault."""

from pathlib import Path

import pytest
from pydantic import Field

from offsite.errors import InputError, InputErrors
from offsite.settings import Settings
from offsite.workflows.jobs.configuration import validate_configuration
from offsite.workflows.jobs.yaml_settings import load_settings


class Fit(Settings):
    epochs: int = Field(10, gt=0, description="Passes over the data.")


class Whole(Settings):
    cohort: str = Field(description="The table.")
    fit: Fit = Field(Fit(), description="Training.")


def written(folder: Path, text: str) -> Path:
    path = folder / "settings.yaml"
    path.write_text(text)
    return path


def test_values_defaults_and_overrides(tmp_path: Path) -> None:
    path = written(tmp_path, "cohort: a.csv\n")
    assert load_settings(path, Whole).fit.epochs == 10
    changed = load_settings(path, Whole, ["fit.epochs=3", "cohort=b.csv"])
    assert (changed.fit.epochs, changed.cohort) == (3, "b.csv")


def test_every_fault_is_named(tmp_path: Path) -> None:
    path = written(tmp_path, "cohrt: a.csv\nfit: {epochs: 0}\n")
    with pytest.raises(InputErrors) as caught:
        load_settings(path, Whole)
    told = str(caught.value)
    assert len(caught.value.faults) == 3
    for words in ("cohort: Field required", "cohrt: Extra inputs", "fit.epochs", "given: 0"):
        assert words in told


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("- a\n- b\n", "not a mapping"),
        ("a: [", "not YAML"),
        ("!!python/name:os.system", "not YAML"),
    ],
)
def test_what_is_not_a_settings_file_is_refused(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        load_settings(written(tmp_path, text), Whole)


@pytest.mark.parametrize("override", ["epochs", "=3", "cohort.inner=3"])
def test_an_override_that_sets_nothing_is_refused(tmp_path: Path, override: str) -> None:
    with pytest.raises(InputError, match=r"sets nothing|is a value"):
        load_settings(written(tmp_path, "cohort: a.csv\n"), Whole, [override])


@pytest.mark.parametrize(
    ("cells", "classes", "loss", "words"),
    [
        ({"methods": ["sc_mil", "unheard"]}, 2, {}, "no method is named 'unheard'"),
        ({"methods": ["sc_mil_prototypes"]}, 3, {}, "no directions for 3 classes"),
        (
            {"methods": ["cross_entropy", "sc_mil"]},
            2,
            {"kind": "cross_entropy"},
            "sc_mil is by its loss",
        ),
        ({"methods": ["ldam_drw"]}, 2, {"kind": "focal"}, "ldam_drw is by its loss"),
    ],
)
def test_methods_that_cannot_be_trained_are_refused_with_the_configuration(
    tmp_path: Path, cells: dict[str, list[str]], classes: int, loss: dict[str, str], words: str
) -> None:
    values = {
        "task": "pathology", "cohort": "cohort.csv", "cells": cells,
        "classes": [f"grade {number}" for number in range(classes)],
        "training": {"model": {"contrast": {"projection": 2}, "loss": loss}},
    }  # fmt: skip
    with pytest.raises(InputError, match=words):
        validate_configuration(values, tmp_path / "job.yaml")


@pytest.mark.parametrize(
    "values", [{"cells": {"methods": ["deco", "dceo"]}}, {"training": {"method": "dceo"}}]
)
def test_a_retina_method_that_is_misspelt_is_refused_with_the_configuration(
    tmp_path: Path, values: dict[str, object]
) -> None:
    values |= {"task": "retina", "cohort": "cohort.csv", "classes": ["none", "mild"]}
    with pytest.raises(InputError, match="no method is named 'dceo'"):
        validate_configuration(values, tmp_path / "job.yaml")

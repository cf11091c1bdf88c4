"""``offsite cohort check --shortcuts`` as a person runs it."""

from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from offsite.workflows.cli import app


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Two sites of noise; at the first, positives are photographed darker."""
    rng = np.random.default_rng(0)
    rows = []
    for number in range(120):
        site, label = ("east", "west")[number % 2], ("none", "severe")[int(rng.random() < 0.5)]
        picture = rng.integers(100, 160, (40, 40, 3), dtype=np.uint8)
        if site == "east" and label == "severe":
            picture -= 60
        cv2.imwrite(str(tmp_path / f"{number}.png"), picture)
        rows.append(
            {"image": f"{number}.png", "patient": f"p{number}", "site": site, "label": label}
        )
    (tmp_path / "0.png").write_bytes(b"no picture")
    pd.DataFrame(rows).to_csv(tmp_path / "cohort.csv", index=False)
    return tmp_path / "cohort.csv"


def test_a_shortcut_of_one_site_is_named_and_the_other_site_is_not(table: Path) -> None:
    told = CliRunner().invoke(
        app, ["cohort", "check", str(table), "--classes", "none,severe", "--shortcuts"]
    )
    assert "At east what a picture shows of its camera ranks the label" in told.output
    assert "At east, west" not in told.output
    assert "1 labelled images could not be read" in told.output


def test_a_class_that_is_not_there_is_refused(table: Path) -> None:
    told = CliRunner().invoke(
        app,
        ["cohort", "check", str(table), "--classes", "none,severe", "--shortcuts",
         "--positive", "sever"],
    )  # fmt: skip
    assert told.exit_code != 0
    assert "no class 'sever'" in str(told.exception or told.output)

"""Slides: the last layer refitted with a hospital's own slides, and both distances told of each."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from offsite.preprocessing.synthetic.slides.cohort import SyntheticSlideSettings, make_slide_cohort
from offsite.preprocessing.synthetic.slides.sites import SITES
from offsite.workflows.package.fitting import under
from offsite.workflows.package.folder import load_package, write_package
from offsite.workflows.package.heads import sums_of_head, training_sums
from offsite.workflows.package.trunk_distance import SCORES, reference_of
from offsite.workflows.predict.batch import BatchOptions
from offsite.workflows.predict.running import predict
from offsite.workflows.site.stage import calibrate
from tests.workflows.conftest import SlideRun


@pytest.mark.slow
def test_a_head_is_refitted_with_slides(slide_run: SlideRun, tmp_path: Path) -> None:
    shipped = load_package(slide_run.package)
    sums, seen = sums_of_head(shipped), training_sums(shipped.arrays("trunk"))
    assert sums is not None
    assert sums.sites is not None
    assert seen is not None
    assert seen.sites is not None
    assert sums.sites.sites == seen.sites.sites == tuple(sorted(shipped.record.training_sites))
    # A row of the trunk's sums is the mean of a slide's tile features, of the head's its embedding.
    assert (seen.rows.sums.shape[1], sums.rows.sums.shape[1]) == (123, 128)
    graded = shipped.record.model_copy(update={"ordinal": True})
    # The small run has too few validation slides to read a distance against; its test needs some.
    rows = np.load(slide_run.run / "trunk.npy")
    reference = shipped.reference | under(f"{SCORES}/_pooled", reference_of(seen.sites, rows))
    model = write_package(tmp_path / "graded", graded, shipped.weights, reference)
    made = SyntheticSlideSettings(
        sites=SITES[3:4], patients=22, slides_per_patient=(1, 1), width_um=380, height_um=380,
        class_shares=(1, 1, 1), artefacts=False, tissue_share=0.7, seed=3,
    )  # fmt: skip
    cohort = make_slide_cohort(tmp_path / "local", made, workers=1)
    done = calibrate(cohort, str(model), SITES[3].name, tmp_path / "out", device="cpu", refit=True)
    report = done.report["refit"]
    assert report["cases"] == done.report["labelled"] >= 20
    bounds = [report[name]["at_least"] for name in ("as_shipped", "class_shares_alone")]
    assert report["adopted"] == (min(bounds) > 0) or "too few" in report["why"]
    predict([cohort], str(done.package), BatchOptions(output=tmp_path / "again"), device="cpu")
    rows = pd.read_csv(tmp_path / "again" / "results.csv")
    answered = rows[rows["status"].isin(["ok", "review"])]
    assert len(answered) >= 20
    assert answered["trunk_percentile"].between(0, 100).all()
    assert set(answered["site_profile"]) == {SITES[3].name}

"""The same features as CLAM, TRIDENT and STAMP lay them out: one model, one answer."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from offsite.files import read_json
from offsite.training.prediction.items import item_of
from offsite.workflows.jobs.job import Job
from offsite.workflows.package.folder import load_package
from offsite.workflows.predict.running import predictor_for
from offsite.workflows.stages import training
from offsite.workflows.stages.registration import package
from tests.workflows.feature_folders import make
from tests.workflows.sown import state

OTHERS = ("clam", "clam_pt", "trident", "stamp")
SAID = {"clam": "CLAM", "clam_pt": "CLAM (.pt)", "trident": "TRIDENT", "stamp": "STAMP"}
FEW = {"batch_size": 8, "instances": 16, "fit": {"epochs": 2, "device": "cpu"},
       "model": {"aggregator": {"width": 16, "attention_width": 8}}}  # fmt: skip


def trained(folder: Path, layout: str) -> Path:
    job = Job.load(make(folder, layout, training=FEW))
    return training.train(job, job.cells()[0])


@pytest.fixture(scope="module")
def of_own_files(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """What a run says that reads the same features from offsite's own files."""
    run = trained(tmp_path_factory.mktemp("own"), "offsite")
    return pd.read_parquet(run / "predictions.parquet").set_index("image")


@pytest.mark.parametrize("layout", OTHERS)
def test_the_layout_changes_no_answer(
    tmp_path: Path, of_own_files: pd.DataFrame, layout: str
) -> None:
    """Trained on, packaged, and read again file by file."""
    run = trained(tmp_path, layout)
    before = state([tmp_path / "features"])
    rows = pd.read_parquet(run / "predictions.parquet").set_index("image")
    names = ["prob_normal", "prob_tumour"]
    assert rows["split"].equals(of_own_files["split"])
    np.testing.assert_allclose(rows[names], of_own_files[names], atol=1e-6)
    assert read_json(run / "run.json")["facts"]["features"]["layouts"] == {SAID[layout]: len(rows)}
    predictor = predictor_for(load_package(package(run)), "cpu")
    for slide in rows.index[:3]:
        suffix = ".pt" if layout == "clam_pt" else ".h5"
        prepared = predictor.prepare(item_of(next(tmp_path.rglob(f"{slide}{suffix}"))))
        logits = np.asarray(predictor.infer([prepared])[0].logits)
        raw = np.exp(logits) / np.exp(logits).sum()
        np.testing.assert_allclose(raw, rows.loc[slide, names].astype(float), atol=1e-5)
        assert (prepared.view is not None) == (layout in ("clam", "trident"))
    assert state([tmp_path / "features"]) == before

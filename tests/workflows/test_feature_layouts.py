"""The same features as CLAM, TRIDENT and STAMP lay them out: one model, one answer, one path."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from offsite.files import read_json
from offsite.pathology.features.folders import read_any
from offsite.preprocessing.synthetic.slides.sites import SITES
from offsite.training.prediction.items import item_of
from offsite.workflows.cli import app
from offsite.workflows.demo import features as demo
from offsite.workflows.jobs.job import Job
from offsite.workflows.package.folder import load_package
from offsite.workflows.predict.running import predictor_for
from offsite.workflows.stages import training
from offsite.workflows.stages.registration import package
from tests.workflows.feature_folders import LABEL, make, write, write_job
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


@dataclass(frozen=True)
class DemoFeatures:
    """The demo's features: a table of labels, and those of each slide."""

    table: pd.DataFrame
    features: dict[str, np.ndarray]


@pytest.fixture(scope="module")
def of_demo(tmp_path_factory: pytest.TempPathFactory) -> DemoFeatures:
    folder = tmp_path_factory.mktemp("demo")
    small = {"patients": 72, "sites": (*SITES[:2], SITES[4]), "width_um": 380, "height_um": 380}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "COHORT", demo.COHORT.model_copy(update=small))
        demo.write_demo(folder)
    table = pd.read_csv(folder / "labels.csv")
    files = {path.stem: path for path in (folder / "trident_processed").rglob("*.h5")}
    table = table.iloc[1:]  # the first is the one of another encoder
    return DemoFeatures(table, {name: read_any(files[name]).features for name in table["slide"]})


def of_layout(root: Path, given: DemoFeatures, layout: str) -> Path:
    """Write the demo's features in a layout, their table, and a job on them."""
    for slide, rows in given.features.items():
        write(root / "features", layout, slide, rows)
    given.table.to_csv(root / "labels.csv", index=False)
    splits = {"held_out_sites": [SITES[4].name], "val": 0.3, "test": 0.3}
    return write_job(root, splits=splits, classes=list(demo.CLASSES), training=FEW)


def call(*words: object, code: int = 0) -> str:
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == code, f"{words}: {done.output} {done.exception!r}"
    return done.output


@pytest.mark.slow
@pytest.mark.parametrize("layout", OTHERS)
def test_the_whole_path_of_each_layout(of_demo: DemoFeatures, tmp_path: Path, layout: str) -> None:
    """Trained, evaluated, registered, fitted to a hospital, and asked, each by its command."""
    config = of_layout(tmp_path, of_demo, layout)
    folder = tmp_path / "features"
    before = state([folder])
    call("workflow", "check", config)
    call("train", config)
    run = next((tmp_path / "results").rglob("run.json")).parent
    call("evaluate", run)
    assert (run / "evaluation" / "report.html").is_file()
    call("model", "register", run, "--name", "grader")
    model = ["-m", "models:/grader@candidate", "--tracking-uri", Job.load(config).tracking_uri]
    local = of_demo.table[of_demo.table["site"] == SITES[4].name]
    local = local.assign(slide=[f"{slide}.svs" for slide in local["slide"]], site="north")
    local.to_csv(tmp_path / "local.csv", index=False)
    call("site", "calibrate", tmp_path / "local.csv", "--features", folder, *model, "--site",
         "north", "-o", tmp_path / "north", "--workers", 1)  # fmt: skip
    record = load_package(tmp_path / "north" / "package").record
    assert record.profiles["north"].n == len(local) >= 20
    assert record.preprocessing["features"]["encoder"]["label"] == LABEL
    local.iloc[:4].drop(columns="label").to_csv(tmp_path / "new.csv", index=False)
    call("predict", tmp_path / "new.csv", "--features", folder, *model, "-o", tmp_path / "out",
         "--workers", 1)  # fmt: skip
    rows = pd.read_csv(tmp_path / "out" / "results.csv", keep_default_na=False)
    assert set(rows["status"]) <= {"ok", "review"}
    assert len(rows) == 4
    assert ("no heatmap" in " ".join(rows["reasons"])) == (layout in ("clam_pt", "stamp"))
    assert state([folder]) == before

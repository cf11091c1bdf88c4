"""Real slides through tile, embed and predict: read where they can be, else refused with a reason."""

from pathlib import Path

import h5py
import pandas as pd
import pytest

from offsite.workflows.jobs.job import Job
from offsite.workflows.predict.batch import BatchOptions
from offsite.workflows.predict.running import predict
from offsite.workflows.stages import images as image_stages
from tests.workflows.conftest import SlideRun

GOOD = "CMU-1-Small-Region.svs"
WRONG_SCALE = "CMU-1-Small-Region.jpeg.tiff"
BESIDES = ("CMU-1-Small-Region.webp.tiff", "OS-1-detail.ome.tif", "OS-2-ndpi.ome.tif", "broken.svs")
REFUSED = {"slide-1", "slide-2", "slide-5"}  # two whose scale is wrong by 100, and a torn one


@pytest.fixture
def job(real_data: Path, tmp_path: Path) -> Job:
    wsi = real_data / "wsi"
    files = [wsi / GOOD, wsi / WRONG_SCALE, *(wsi / "unreadable" / name for name in BESIDES)]
    rows = [
        {"image": str(path), "patient": path.name, "site": "real", "slide": f"slide-{number}",
         "label": "", "mpp": ""}
        for number, path in enumerate(files)
    ]  # fmt: skip
    # The same file once more, with the scale that its scanner had.
    rows.append(rows[1] | {"image": str(tmp_path / "link.tiff"), "patient": "x", "slide": "mended",
                           "mpp": "0.499"})  # fmt: skip
    (tmp_path / "link.tiff").symlink_to(wsi / WRONG_SCALE)
    pd.DataFrame(rows).to_csv(tmp_path / "cohort.csv", index=False)
    (tmp_path / "job.yaml").write_text(
        "task: pathology\ncohort: cohort.csv\nclasses: [normal, low_grade, high_grade]\n"
        "tiles: {tile_px: 128}\nencoder: {tile_px: 128}\n"
    )
    return Job.load(tmp_path / "job.yaml")


def test_tile_and_embed_give_a_row_to_each(job: Job) -> None:
    tiles = image_stages.run(job, "tile").set_index("slide")
    assert len(tiles) == 7
    assert tiles.loc["slide-0", "status"] == tiles.loc["mended", "status"] == "done"
    assert tiles.loc["slide-0", "mpp"] == pytest.approx(0.499)
    failed = tiles[tiles["status"] == "failed"]
    assert set(failed.index) == REFUSED
    assert failed.loc[["slide-1", "slide-2"], "code"].tolist() == ["mpp_implausible"] * 2
    assert (tiles.loc[["slide-3", "slide-4"], "mpp_source"] == "ome").all()
    assert failed["message"].str.len().min() > 30
    features = image_stages.run(job, "embed").set_index("slide")
    assert features.loc["slide-0", "status"] == "embedded"
    assert features.loc["slide-1", "status"] == "failed"
    with h5py.File(job.output / "features" / "slide-0.h5") as file:
        assert len(file["features"]) == tiles.loc["slide-0", "tiles_kept"] > 50


def test_predict_answers_or_refuses_each(
    real_data: Path, slide_run: SlideRun, tmp_path: Path
) -> None:
    wsi = real_data / "wsi"
    inputs = [wsi / GOOD, wsi / WRONG_SCALE, wsi / "unreadable" / "broken.svs"]
    options = BatchOptions(output=tmp_path, workers=1)
    outcome = predict(inputs, str(slide_run.package), options, device="cpu")
    assert outcome.exit_code == 3
    rows = pd.read_csv(tmp_path / "results.csv", encoding="utf-8-sig", keep_default_na=False)
    found = rows.set_index(rows["input"].map(lambda path: Path(path).name))
    assert found.loc[GOOD, "status"] == "review"  # no slide of the training sites looks like it
    assert found.loc[GOOD, "prediction"] in ("normal", "low_grade", "high_grade")
    for name in (WRONG_SCALE, "broken.svs"):
        assert found.loc[name, "status"] == "error"
        assert found.loc[name, "prediction"] == ""
    assert "0.00499 um per px" in found.loc[WRONG_SCALE, "reasons"]

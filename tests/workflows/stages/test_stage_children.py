"""Tiling, embedding, preparing and checking: one file that ends its reader is a row of its own."""

import os
import shutil
import signal
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import yaml

from offsite.children.limits import Limits
from offsite.children.pool import Children
from offsite.files import read_json, write_json
from offsite.pathology.features.embedding import embed_cohort
from offsite.pathology.tile_encoders.registry import EncoderSettings
from offsite.preprocessing.cohort.audit import audit_cohort, decoded
from offsite.preprocessing.cohort.table import load_cohort
from offsite.preprocessing.fundus.cohort import prepare_cohort
from offsite.preprocessing.fundus.dicom import dicom_pixels
from offsite.preprocessing.fundus.photograph import FundusSettings
from offsite.preprocessing.slides.fingerprints import slide_fingerprint
from offsite.preprocessing.synthetic.slides.cohort import SyntheticSlideSettings, make_slide_cohort
from offsite.preprocessing.tiles.table import TileSettings, load_record
from offsite.preprocessing.tiles.tiling import tile_cohort
from offsite.workflows.jobs.job import Job
from offsite.workflows.stages import images as image_stages
from tests.workflows import deadly

LIMITS = Limits(case_seconds=1.5, case_gib=0.5)


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings = SyntheticSlideSettings(
        patients=1, slides_per_patient=(1, 1), width_um=330, height_um=330, artefacts=False
    )
    table = make_slide_cohort(tmp_path_factory.mktemp("made"), settings, workers=1)
    return next((table.parent / "slides").iterdir())


def write_cohort(folder: Path, *images: str) -> Path:
    rows = [
        {"image": image, "patient": f"p{number}", "site": "a", "label": "ab"[number % 2]}
        for number, image in enumerate(images)
    ]
    pd.DataFrame(rows).to_csv(folder / "cohort.csv", index=False)
    return folder / "cohort.csv"


def test_a_slide_that_crashes_its_reader_is_not_tiled_and_the_others_are(
    slide: Path, tmp_path: Path
) -> None:
    shutil.copy(slide, tmp_path / "good.svs")
    deadly.aborting_slide(tmp_path / "abort.svs", slide)
    write_cohort(tmp_path, "abort.svs", "good.svs")
    settings = {
        "task": "pathology", "cohort": "cohort.csv", "classes": ["a", "b"],
        "tiles": {"tile_px": 64, "min_tissue": 0.1}, "reading": {"case_seconds": 60},
        "encoder": {"name": "colour_baseline", "tile_px": 64},
    }  # fmt: skip
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(settings))
    job = Job.load(tmp_path / "job.yaml")
    rows = image_stages.run(job, "tile", workers=2).set_index("slide")
    assert rows.loc["abort", ["status", "code"]].tolist() == ["failed", "crashed"]
    assert rows.loc["good", "status"] in ("done", "no_tissue")
    record = load_record(job.output, "abort")
    assert record is not None
    assert (record.code, len(record.fingerprint)) == ("crashed", 64)
    assert not list(job.output.rglob("*.tmp"))
    shutil.copy(slide, tmp_path / "abort.svs")  # mended: it is tried again
    assert set(image_stages.run(job, "tile", workers=2)["code"]) <= {"", "no_tissue"}
    table = image_stages.run(job, "embed", workers=2)
    assert set(table["status"]) <= {"embedded", "no_tiles"}


def test_a_slide_that_changed_since_it_was_tiled_or_crashes_now_is_not_embedded(
    slide: Path, tmp_path: Path
) -> None:
    for name in ("good", "other", "abort"):
        shutil.copy(slide, tmp_path / f"{name}.svs")
    cohort = load_cohort(write_cohort(tmp_path, "good.svs", "other.svs", "abort.svs"), ("a", "b"))
    tiles = TileSettings(tile_px=64, min_tissue=0.0, reader="openslide")
    tile_cohort(cohort, tmp_path, tiles)
    (tmp_path / "other.svs").write_bytes(slide.read_bytes() + b"more")
    deadly.aborting_slide(tmp_path / "abort.svs", slide)
    file = tmp_path / "tiles" / "abort.json"  # as if this very file had been tiled
    write_json(file, {**read_json(file), "fingerprint": slide_fingerprint(tmp_path / "abort.svs")})
    encoder = EncoderSettings(name="colour_baseline", tile_px=64)
    with Children(2, Limits()) as children:
        rows = embed_cohort(
            cohort, tmp_path, tmp_path / "features", encoder, workers=2, place=children
        ).set_index("slide")
    assert rows["status"].to_dict() == {"good": "embedded", "other": "failed", "abort": "failed"}
    assert rows["code"].to_dict() == {"good": "", "other": "not_tiled", "abort": "crashed"}


def test_a_photograph_that_loops_is_not_prepared_and_the_others_are(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("good.png", "too.png"):
        cv2.imwrite(str(tmp_path / name), rng.integers(0, 255, (96, 96, 3), np.uint8))
    deadly.looping_dicom(tmp_path / "loop.dcm")
    deadly.pipe(tmp_path / "pipe.png")
    names = ("good.png", "loop.dcm", "too.png", "pipe.png")
    cohort = load_cohort(write_cohort(tmp_path, *names), ("a", "b"))
    settings = FundusSettings(px=32, already_cropped=True)
    with Children(2, LIMITS) as children:
        rows = prepare_cohort(cohort, tmp_path / "out", settings, workers=2, place=children)
        again = prepare_cohort(cohort, tmp_path / "out", settings, workers=2, place=children)
        audit = audit_cohort(cohort, decode=_pixels, workers=2, place=children)
    assert rows["code"].tolist() == ["", "timed_out", "", "unreadable_image"]
    assert "--case-seconds" in rows["message"].iloc[1]
    pd.testing.assert_frame_equal(rows, again)
    assert not (tmp_path / "out" / "images" / "loop.json").exists(), "it is tried again"
    assert audit.count("unreadable") == 2
    record = read_json(tmp_path / "out" / "images" / "good.json")
    assert rows["fingerprint"].iloc[0] == record["fingerprint"]
    assert "decoded" not in record


def test_an_interrupted_stage_waits_for_no_image_and_blames_none(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        deadly.looping_dicom(tmp_path / f"{name}.dcm")
    cohort = load_cohort(write_cohort(tmp_path, "a.dcm", "b.dcm", "c.dcm"), ("a", "b"))
    interrupt = threading.Timer(1.5, os.kill, (os.getpid(), signal.SIGINT))
    start = time.monotonic()
    interrupt.start()
    with Children(2, Limits()) as children, pytest.raises(KeyboardInterrupt):
        prepare_cohort(cohort, tmp_path / "out", FundusSettings(px=32), workers=2, place=children)
    assert time.monotonic() - start < 60, "far less than the 120 s of an image"
    assert not list((tmp_path / "out" / "images").iterdir())


def _pixels(path: Path) -> "np.ndarray | None":
    return dicom_pixels(path) if path.suffix == ".dcm" else decoded(path)

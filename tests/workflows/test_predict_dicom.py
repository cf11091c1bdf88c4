"""DICOM photographs and slides are answered as the same pixels in another file."""

from pathlib import Path

import cv2
import numpy as np
import openslide
import pandas as pd
import pytest

from preprocessing.fundus.reading import read_photograph
from preprocessing.synthetic.slides_writing import write_slide as write_tiff_slide
from tests.workflows import dicom_files
from tests.workflows.conftest import FundusRun, SlideRun
from workflows.predict.batch import BatchOptions
from workflows.predict.running import predict


def answers(inputs: list[Path], package: Path, output: Path) -> pd.DataFrame:
    predict(inputs, str(package), BatchOptions(output=output, workers=1), device="cpu")
    table = pd.read_csv(output / "results.csv", keep_default_na=False)
    return table.set_index(table["input"].map(lambda path: Path(path).name))


@pytest.fixture
def photograph(fundus_run: FundusRun) -> np.ndarray:
    table = pd.read_csv(fundus_run.cohort)
    return read_photograph(fundus_run.cohort.parent / table["image"][0])


def test_photographs_from_dicom_are_answered_as_the_same_pixels(
    fundus_run: FundusRun, photograph: np.ndarray, tmp_path: Path
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    cv2.imwrite(str(folder / "plain.png"), photograph[..., ::-1])
    for kind in ("rgb", "ybr", "jpeg", "frames"):
        dicom_files.write_photograph(folder / f"{kind}.dcm", photograph, kind)
    rows = answers([folder], fundus_run.package, tmp_path / "out")
    shares = rows.filter(like="prob_")
    wanted = shares.loc["plain.png"].astype(float).to_numpy()
    assert np.abs(shares.loc["rgb.dcm"].astype(float) - wanted).max() < 1e-6
    for kind in ("ybr", "jpeg"):  # both round the colours
        assert rows.loc[f"{kind}.dcm", "prediction"] == rows.loc["plain.png", "prediction"]
        assert np.abs(shares.loc[f"{kind}.dcm"].astype(float) - wanted).max() < 0.03
    assert rows.loc["frames.dcm", "code"] == "unsupported"
    written = "".join(
        path.read_text(errors="replace") for path in (tmp_path / "out").rglob("*.json")
    )
    assert "Jane" not in written


def test_a_slide_from_dicom_is_answered_as_the_same_pixels(
    slide_run: SlideRun, tmp_path: Path
) -> None:
    table = pd.read_csv(slide_run.cohort)
    folder = tmp_path / "in"
    folder.mkdir()
    with openslide.OpenSlide(slide_run.cohort.parent / table["image"][0]) as slide:
        mpp = float(slide.properties[openslide.PROPERTY_NAME_MPP_X])
        pixels = np.asarray(slide.read_region((0, 0), 0, slide.dimensions).convert("RGB"))
    write_tiff_slide(folder / "plain.tiff", pixels, mpp=mpp, flavour="generic", downsamples=(1,))
    with openslide.OpenSlide(folder / "plain.tiff") as slide:
        pixels = np.asarray(slide.read_region((0, 0), 0, slide.dimensions).convert("RGB"))
    dicom_files.write_slide(folder / "scan.dcm", pixels, mpp)
    rows = answers([folder], slide_run.package, tmp_path / "out")
    shares = rows.filter(like="prob_").astype(float)
    assert (rows["prediction"] != "").all(), rows[["code", "reasons"]].to_string()
    assert np.abs(shares.loc["scan.dcm"] - shares.loc["plain.tiff"]).max() < 1e-6

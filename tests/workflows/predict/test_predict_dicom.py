"""DICOM photographs and slides are answered as the same pixels in other files are."""

import io
from pathlib import Path

import cv2
import numpy as np
import openslide
import pandas as pd
import pytest
import simplejpeg
import tifffile
from PIL import Image

pytest.importorskip("pydicom")
from pydicom import dcmread
from pydicom.pixels import convert_color_space
from pydicom.uid import JPEG2000Lossless, JPEGBaseline8Bit, JPEGLSLossless, RLELossless

from offsite.workflows.predict.batch import BatchOptions
from offsite.workflows.predict.running import predict
from tests.workflows.conftest import FundusRun, SlideRun
from tests.workflows.dicom_files import SLIDE, write_dicom, write_dicom_slide


def predicted(inputs: Path, package: Path, out: Path) -> pd.DataFrame:
    outcome = predict([inputs], str(package), BatchOptions(output=out, workers=1), device="cpu")
    table = pd.read_csv(outcome.folder / "results.csv", keep_default_na=False)
    return table.set_index(table["input"].map(lambda p: str(Path(p).relative_to(inputs))))


def probabilities(table: pd.DataFrame) -> np.ndarray:
    return table.filter(regex="^prob_").to_numpy(float)


@pytest.fixture
def photograph(fundus_run: FundusRun) -> np.ndarray:
    cohort = pd.read_csv(fundus_run.cohort)
    bgr = cv2.imread(str(fundus_run.cohort.parent / cohort["image"][0]))
    return np.ascontiguousarray(cv2.resize(bgr, (144, 144))[..., ::-1])


def test_photographs_in_dicom(
    fundus_run: FundusRun, photograph: np.ndarray, tmp_path: Path
) -> None:
    folder, size, raw = tmp_path / "in", photograph.shape[:2], photograph.tobytes()
    stream = simplejpeg.encode_jpeg(photograph, quality=95, colorsubsampling="422")
    write_dicom(folder / "rgb.dcm", size, raw)
    write_dicom(folder / "one_frame.dcm", size, raw, NumberOfFrames=1)
    planes = np.ascontiguousarray(photograph.transpose(2, 0, 1)).tobytes()
    write_dicom(folder / "planes.dcm", size, planes, PlanarConfiguration=1)
    rle = dcmread(folder / "rgb.dcm")
    rle.compress(RLELossless)
    rle.save_as(folder / "rle.dcm")
    ybr = convert_color_space(photograph, "RGB", "YBR_FULL").tobytes()
    write_dicom(folder / "ybr.dcm", size, ybr, PhotometricInterpretation="YBR_FULL")
    for name in ("YBR_FULL_422", "YBR_FULL"):
        write_dicom(
            folder / f"jpeg_{name}.dcm", size, [stream], JPEGBaseline8Bit,
            PhotometricInterpretation=name,
        )  # fmt: skip
    coded = io.BytesIO()
    Image.fromarray(photograph).save(coded, "JPEG2000", irreversible=False, mct=1, no_jp2=True)
    write_dicom(
        folder / "jpeg2000.dcm", size, [coded.getvalue()], JPEG2000Lossless,
        PhotometricInterpretation="YBR_RCT",
    )  # fmt: skip
    cv2.imwrite(str(folder / "same.png"), photograph[..., ::-1])
    cv2.imwrite(str(folder / "same_jpeg.png"), simplejpeg.decode_jpeg(stream)[..., ::-1])
    table = predicted(folder, fundus_run.package, tmp_path / "out")
    assert len(table) == 10
    assert set(table["quality"]) == {"gradable"}
    same = table.loc[["same.png"]]
    exact = table.loc[["rgb.dcm", "one_frame.dcm", "planes.dcm", "rle.dcm", "jpeg2000.dcm"]]
    assert np.abs(probabilities(exact) - probabilities(same)).max() < 1e-6
    # Colours are converted to whole levels on another way: one level of 255 at most, which can move
    # the crop by a pixel. Converted twice they give .058.
    assert np.abs(probabilities(table.loc[["ybr.dcm"]]) - probabilities(same)).max() < 0.03
    jpegs = probabilities(table[table.index.str.startswith("jpeg_")])
    assert np.abs(jpegs - probabilities(table.loc[["same_jpeg.png"]])).max() < 0.01
    written = [path.read_text() for path in (tmp_path / "out").rglob("*.json")]
    assert not any("Jane" in text for text in written)
    assert exact["decision"].eq(same["decision"].iloc[0]).all()


def test_dicom_that_holds_no_photograph_is_a_row_with_the_reason(
    fundus_run: FundusRun, photograph: np.ndarray, tmp_path: Path
) -> None:
    folder, size, raw = tmp_path / "in", photograph.shape[:2], photograph.tobytes()
    stream = simplejpeg.encode_jpeg(photograph)
    half = stream[: len(stream) // 2]
    write_dicom(folder / "frames.dcm", size, raw * 2, NumberOfFrames=2)
    colour = {"PhotometricInterpretation": "YBR_FULL_422"}
    write_dicom(folder / "cut.dcm", size, [half], JPEGBaseline8Bit, **colour)
    write_dicom(folder / "short.dcm", size, raw[: len(raw) // 2])
    write_dicom(folder / "no_decoder.dcm", size, [stream], JPEGLSLossless)
    write_dicom(folder / "palette.dcm", size, raw, PhotometricInterpretation="PALETTE COLOR")
    write_dicom(folder / "slide.dcm", size, raw, SOPClassUID=SLIDE)
    write_dicom(folder / "huge.dcm", (40_000, 40_000), raw)
    table = predicted(folder, fundus_run.package, tmp_path / "out")
    assert table["code"].to_dict() == {
        "frames.dcm": "unsupported", "cut.dcm": "unreadable", "short.dcm": "unreadable",
        "no_decoder.dcm": "unsupported", "palette.dcm": "unsupported", "slide.dcm": "wrong_kind",
        "huge.dcm": "too_large",
    }  # fmt: skip
    assert "JPEG-LS" in table.loc["no_decoder.dcm", "reasons"]


def test_slides_in_dicom(slide_run: SlideRun, photograph: np.ndarray, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    first = pd.read_csv(slide_run.cohort)["image"][0]
    with openslide.OpenSlide(slide_run.cohort.parent / first) as slide:
        mpp = float(slide.properties[openslide.PROPERTY_NAME_MPP_X])
        levels = whole(slide)
    jpeg = write_dicom_slide(folder / "jpeg", levels, mpp, jpeg=True)
    with openslide.OpenSlide(jpeg) as slide:
        levels = whole(slide)
    write_dicom_slide(folder / "plain", levels, mpp, jpeg=False)
    with tifffile.TiffWriter(folder / "same.tiff") as tiff:
        for number, pixels in enumerate(levels):
            scale = 10_000 / mpp * pixels.shape[1] / levels[0].shape[1]
            tiff.write(
                pixels, tile=(256, 256), compression="deflate", photometric="rgb",
                subfiletype=int(number > 0), resolution=(scale, scale), resolutionunit="CENTIMETER",
            )  # fmt: skip
    write_dicom(folder / "photograph.dcm", photograph.shape[:2], photograph.tobytes())
    table = predicted(folder, slide_run.package, tmp_path / "out")
    refused = table.loc["photograph.dcm"]
    assert (refused["status"], refused["code"]) == ("excluded", "wrong_kind")
    slides = table.drop("photograph.dcm")
    assert sorted(slides.index) == ["jpeg/level-0.dcm", "plain/level-0.dcm", "same.tiff"]
    assert (slides["prediction"] != "").all()
    answered = probabilities(slides)
    assert np.abs(answered - answered[0]).max() < 1e-6
    maps = [tmp_path / "out" / "cases" / case / "overlay.png" for case in slides["case"]]
    assert len({path.read_bytes() for path in maps}) == 1


def whole(slide: openslide.OpenSlide) -> list[np.ndarray]:
    """Every level as pixels."""
    return [
        np.ascontiguousarray(np.asarray(slide.read_region((0, 0), level, size))[..., :3])
        for level, size in enumerate(slide.level_dimensions)
    ]


def test_a_deflated_file_is_not_inflated(
    fundus_run: FundusRun, photograph: np.ndarray, tmp_path: Path
) -> None:
    from pydicom.uid import DeflatedExplicitVRLittleEndian

    write_dicom(tmp_path / "in" / "x.dcm", photograph.shape[:2], photograph.tobytes())
    data = dcmread(tmp_path / "in" / "x.dcm")
    data.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    data.save_as(tmp_path / "in" / "x.dcm")
    table = predicted(tmp_path / "in", fundus_run.package, tmp_path / "out")
    assert table["code"].tolist() == ["unsupported"]
    assert "deflated" in table["reasons"].iloc[0]

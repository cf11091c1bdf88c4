import shutil

import cv2
import numpy as np
import pandas as pd
import pytest

from offsite.errors import InputError
from offsite.preprocessing.cohort.table import load_cohort
from offsite.preprocessing.fundus.cohort import prepare_cohort, read_prepared
from offsite.preprocessing.fundus.photograph import FundusSettings, prepare_photograph
from offsite.preprocessing.synthetic.fundus.cohort import make_photograph
from offsite.preprocessing.synthetic.fundus.sites import CLINICS, CameraProfile

PLAIN = CameraProfile(noise=0.0, vignette=0.0)


def prepared(camera=PLAIN, seed=4, grade=2, px=96, **settings):
    pixels = make_photograph(seed, grade, camera, px=160)
    return prepare_photograph(pixels, FundusSettings(px=px, **settings))


def test_the_picture_is_square_with_the_fill_outside_the_field():
    for enhancement, fill in (("none", 0), ("graham", 128), ("matched", 128), ("clahe", 0)):
        found = prepared(enhancement=enhancement)
        assert found.pixels.shape == (96, 96, 3)
        assert (found.pixels[:5, :5] == fill).all()
        assert found.pixels[40:56, 40:56].std() > 0


def test_the_same_retina_in_landscape_portrait_or_square_gives_the_same_picture():
    pictures = [
        prepared(PLAIN.model_copy(update={"frame": frame})).pixels.astype(int)
        for frame in ("square", "landscape", "portrait")
    ]
    for other in pictures[1:]:
        assert np.abs(pictures[0] - other).mean() < 2


def test_a_squeezed_photograph_is_made_round_again():
    pixels = make_photograph(4, 2, PLAIN, px=160)
    squeezed = cv2.resize(pixels, (110, 164), interpolation=cv2.INTER_AREA)
    found = prepare_photograph(squeezed, FundusSettings(px=96))
    assert found.warnings == ("squeezed",)
    plain = prepare_photograph(pixels, FundusSettings(px=96))
    assert np.abs(found.pixels.astype(int) - plain.pixels.astype(int)).mean() < 4


def test_preparation_is_invariant_to_resolution():
    large, small = (
        prepare_photograph(make_photograph(4, 2, PLAIN, px=px), FundusSettings(px=64)).pixels
        for px in (384, 192)
    )
    assert np.abs(large.astype(int) - small.astype(int)).mean() < 4


def test_graham_takes_tint_and_light_away():
    bright = prepared(PLAIN, enhancement="graham").pixels.astype(int)
    tinted = prepared(
        PLAIN.model_copy(update={"brightness": 0.15}), enhancement="graham"
    ).pixels.astype(int)
    plain = (
        prepared(PLAIN).pixels.astype(int),
        prepared(PLAIN.model_copy(update={"brightness": 0.15})).pixels.astype(int),
    )
    assert np.abs(bright - tinted).mean() < 0.35 * np.abs(plain[0] - plain[1]).mean()


def test_graham_leaves_no_halo_at_the_rim():
    found = prepared(enhancement="graham", px=128).pixels.astype(int)
    y, x = np.mgrid[:128, :128]
    radius = np.hypot(x - 63.5, y - 63.5)
    rim = found[(radius > 55) & (radius < 61)]
    assert abs(rim.mean() - 128) < 8


def test_a_filtered_photograph_is_not_filtered_twice():
    filtered = prepared(enhancement="graham", px=128).pixels
    again = prepare_photograph(filtered, FundusSettings(px=128, enhancement="graham"))
    assert "already_filtered" in again.warnings
    assert again.pixels.std() < 1.2 * filtered.std()  # a second pass would multiply it by four
    assert again.field.radius_x == pytest.approx(64, abs=4)


def test_matched_makes_a_filtered_copy_and_the_photograph_alike_where_graham_does_not():
    pixels = make_photograph(4, 2, PLAIN, px=320)
    copy = prepare_photograph(pixels, FundusSettings(px=224, enhancement="graham")).pixels
    alike = {}
    for enhancement in ("graham", "matched"):
        settings = FundusSettings(px=64, enhancement=enhancement)
        own, other = (
            prepare_photograph(picture, settings).pixels.astype(float) for picture in (pixels, copy)
        )
        assert np.corrcoef(own.ravel(), other.ravel())[0, 1] > 0.8
        alike[enhancement] = other.std() / own.std()
    assert alike["graham"] < 0.9
    assert alike["matched"] == pytest.approx(1, abs=0.02)


def test_without_a_field_it_says_so_unless_told_that_pictures_are_cropped():
    noise = np.random.default_rng(0).integers(60, 200, (64, 64, 3), dtype=np.uint8)
    with pytest.raises(InputError) as error:
        prepare_photograph(noise, FundusSettings(px=32))
    assert error.value.code == "no_field_of_view"
    found = prepare_photograph(noise, FundusSettings(px=32, already_cropped=True))
    assert found.warnings == ("no_rim",)
    assert (found.pixels > 0).any(axis=2).all()


@pytest.mark.parametrize("clinic", CLINICS, ids=lambda clinic: clinic.name)
def test_every_clinics_usual_photographs_are_gradable(clinic):
    for seed in range(3):
        quality = prepared(clinic.camera, seed).quality
        assert quality.gradable
        assert quality.score > 0.3


@pytest.mark.parametrize(
    ("camera", "reason"),
    [
        ({"brightness": -0.75}, "too_dark"),
        ({"blur": 40.0}, "blurred"),
        ({"brightness": 0.85}, "too_bright"),
        ({"contrast": 0.05}, "low_contrast"),
    ],
)
def test_a_spoilt_photograph_is_ungradable_and_says_why(camera, reason):
    quality = prepared(PLAIN.model_copy(update=camera)).quality
    assert not quality.gradable
    assert quality.score == 0
    assert reason in quality.reasons


def test_the_score_falls_as_blur_rises():
    scores = [
        prepared(PLAIN.model_copy(update={"blur": blur})).quality.measures["blurred"]
        for blur in (0.0, 5.0, 12.0, 30.0)
    ]
    assert scores == sorted(scores, reverse=True)


@pytest.fixture
def cohort(tmp_path):
    rows = []
    for number in range(5):
        pixels = make_photograph(number, number % 5, PLAIN, px=64)
        cv2.imwrite(str(tmp_path / f"p{number}.png"), pixels[..., ::-1])
        rows.append((f"p{number}.png", f"patient-{number}", "site", "x"))
    (tmp_path / "bad.png").write_bytes(b"broken")
    cv2.imwrite(str(tmp_path / "wall.png"), np.full((64, 64, 3), 90, np.uint8))
    rows += [("bad.png", "bad", "site", "x"), ("wall.png", "wall", "site", "x")]
    table = pd.DataFrame(rows, columns=["image", "patient", "site", "label"])
    table.to_csv(tmp_path / "cohort.csv", index=False)
    return load_cohort(tmp_path / "cohort.csv", ["x"])


def stamps(folder):
    return {p.name: p.stat().st_mtime_ns for p in (folder / "images").iterdir()}


def test_a_bad_photograph_becomes_a_row_and_the_rest_goes_on(cohort, tmp_path):
    seen = []
    table = prepare_cohort(
        cohort, tmp_path / "out", FundusSettings(px=32), workers=2,
        progress=lambda done, total: seen.append((done, total)),
    )  # fmt: skip
    assert table["image"].tolist() == cohort.table["image"].tolist()
    assert table["code"].tolist() == [*[""] * 5, "not_an_image", "no_field_of_view"]
    assert seen[-1] == (7, 7)
    read, settings = read_prepared(tmp_path / "out")
    assert settings == FundusSettings(px=32)
    assert read["status"].tolist() == ["ok"] * 5 + ["failed"] * 2
    assert read["gradable"].dtype == bool
    assert read["score"].iloc[0] == table["score"].iloc[0]


def test_only_what_is_stale_is_made_anew(cohort, tmp_path):
    out, settings = tmp_path / "out", FundusSettings(px=32)
    prepare_cohort(cohort, out, settings, workers=1)
    first = stamps(out)
    prepare_cohort(cohort, out, settings, workers=1)
    assert stamps(out) == first
    shutil.copy(tmp_path / "p4.png", tmp_path / "p1.png")
    (out / "images" / "p2.png").write_bytes(b"damaged")
    prepare_cohort(cohort, out, settings, workers=1)
    changed = {name for name, stamp in stamps(out).items() if stamp != first[name]}
    assert changed == {"p1.png", "p1.json", "p2.png", "p2.json"}
    prepare_cohort(cohort, out, FundusSettings(px=40), workers=1)
    assert all(stamp != first[name] for name, stamp in stamps(out).items())


def test_parts_together_are_the_whole(cohort, tmp_path):
    settings = FundusSettings(px=32)
    parts = [
        prepare_cohort(cohort, tmp_path / "a", settings, workers=1, part=(k, 3)) for k in (1, 2, 3)
    ]
    assert not (tmp_path / "a" / "prepared.csv").exists()
    assert sum(len(part) for part in parts) == len(cohort.table)
    first = stamps(tmp_path / "a")
    prepare_cohort(cohort, tmp_path / "a", settings, workers=1)
    assert stamps(tmp_path / "a") == first
    prepare_cohort(cohort, tmp_path / "b", settings, workers=1)
    a, b = ((tmp_path / name / "prepared.csv").read_bytes() for name in "ab")
    assert a == b


def test_a_photograph_that_left_the_cohort_leaves_the_folder(cohort, tmp_path):
    settings = FundusSettings(px=32)
    prepare_cohort(cohort, tmp_path / "out", settings, workers=1)
    fewer = cohort.with_table(cohort.table.iloc[:3])
    prepare_cohort(fewer, tmp_path / "out", settings, workers=1)
    assert len(stamps(tmp_path / "out")) == 6

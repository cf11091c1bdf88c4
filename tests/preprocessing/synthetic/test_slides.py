import cv2
import numpy as np
import openslide
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from offsite.preprocessing.cohort.splits import SplitSettings, split_cohort
from offsite.preprocessing.cohort.table import load_cohort
from offsite.preprocessing.slides.density import density_planes, largest
from offsite.preprocessing.synthetic.slides.biology import CLASSES, RASTER_UM, grow
from offsite.preprocessing.synthetic.slides.cohort import (
    SyntheticSlideSettings,
    make_slide,
    make_slide_cohort,
    make_twin_cohort,
)
from offsite.preprocessing.synthetic.slides.rendering import render, sample_artefacts, truth_masks
from offsite.preprocessing.synthetic.slides.sites import SITES
from offsite.preprocessing.tiles.tissue import white_point

TINY = SyntheticSlideSettings(patients=5, slides_per_patient=(1, 1), width_um=160, height_um=150)


def test_the_same_settings_give_the_same_bytes(tmp_path):
    first = make_slide_cohort(tmp_path / "a", TINY, workers=2)
    second = make_slide_cohort(tmp_path / "b", TINY, workers=1)
    names = sorted(str(path.relative_to(first.parent)) for path in first.parent.rglob("[!.]*.*"))
    assert len(names) == 5 + 5 + 3
    for name in names:
        assert (first.parent / name).read_bytes() == (second.parent / name).read_bytes()
    other = make_slide_cohort(tmp_path / "c", TINY.model_copy(update={"seed": 1}))
    image = load_cohort(first).table["image"][0]
    assert (first.parent / image).read_bytes() != (other.parent / image).read_bytes()


def test_it_keeps_what_is_there_unless_the_settings_change(tmp_path):
    path = make_slide_cohort(tmp_path, TINY)
    images = load_cohort(path).image_paths()
    images[0].unlink()
    stamps = [image.stat().st_mtime_ns for image in images[1:]]
    make_slide_cohort(tmp_path, TINY)
    assert images[0].is_file()
    assert [image.stat().st_mtime_ns for image in images[1:]] == stamps
    make_slide_cohort(tmp_path, TINY.model_copy(update={"tissue_share": 0.4}))
    assert all(image.stat().st_mtime_ns not in stamps for image in images[1:])


def test_the_cohort_says_loudly_what_it_is(tmp_path):
    path = make_slide_cohort(tmp_path, TINY)
    assert "SYNTHETIC" in (tmp_path / "README.txt").read_text()
    for image in load_cohort(path).image_paths():
        with openslide.OpenSlide(image) as slide:
            assert "SYNTHETIC" in slide.properties["tiff.ImageDescription"]


def test_the_demonstration_cohort_can_be_split(tmp_path):
    """Five sites, three classes at each of them, patients with several slides."""
    small = SyntheticSlideSettings(width_um=110, height_um=100, artefacts=False)
    cohort = load_cohort(make_slide_cohort(tmp_path, small), CLASSES)
    table = cohort.table
    assert table["site"].nunique() == 5
    assert table["patient"].nunique() == 36
    assert table.groupby("patient").size().between(1, 3).all()
    assert (table.groupby("site")["label"].nunique() == 3).all()
    patients = table.drop_duplicates("patient")["label"].value_counts()
    assert patients["normal"] > patients["low_grade"] > patients["high_grade"]
    split = split_cohort(cohort, SplitSettings(held_out_sites=("elm",))).table
    assert set(split["split"]) == {"train", "val", "test"}


@pytest.mark.parametrize("profile", SITES, ids=lambda profile: profile.name)
def test_openslide_opens_each_site_with_its_scale(tmp_path, profile):
    path = tmp_path / "a.svs"
    make_slide(path, biology_seed=1, label="normal", profile=profile, settings=TINY)
    with openslide.OpenSlide(path) as slide:
        assert float(slide.properties["openslide.mpp-x"]) == pytest.approx(profile.mpp, abs=1e-4)
        expected = "aperio" if profile.flavour == "aperio" else "generic-tiff"
        assert slide.properties["openslide.vendor"] == expected
        assert slide.level_count == 3


def test_twins_share_the_tissue_and_nothing_else():
    biology = grow((9, 1), "high_grade", width_um=300, height_um=280)
    twins = [render(biology, profile, seed=4, mpp=1.0) for profile in SITES]
    tissue = [density_planes(twin, white_point(twin))[1] for twin in twins]
    for other in tissue[1:]:
        assert np.corrcoef(tissue[0].ravel(), other.ravel())[0, 1] > 0.85
    colours = np.array([twin[tissue[0] > 0.2].mean(axis=0) for twin in twins])
    distance = np.linalg.norm(colours[:, None] - colours[None], axis=-1)
    assert distance[np.triu_indices(5, 1)].min() > 3


def test_a_twin_cohort_shows_every_tissue_at_every_site(tmp_path):
    settings = TINY.model_copy(update={"artefacts": False})
    cohort = load_cohort(make_twin_cohort(tmp_path, settings, tissues=3))
    assert len(cohort.table) == 15
    assert (cohort.table.groupby("twin")["site"].nunique() == 5).all()
    assert (cohort.table.groupby("twin")["label"].nunique() == 1).all()
    assert set(cohort.table["label"]) == set(CLASSES)
    for _, twins in cohort.table.groupby("twin"):
        truths = [
            np.load(tmp_path / f"truth/{slide}.npz", allow_pickle=False) for slide in twins["slide"]
        ]
        for name in ("tissue", "lesion"):
            assert all((truth[name] == truths[0][name]).all() for truth in truths)


def test_the_truth_is_where_the_pixels_are():
    biology = grow((9, 2), "low_grade", width_um=300, height_um=280)
    rates = {"pen_rate": 1.0, "fold_rate": 1.0, "blur_rate": 1.0}
    profile = SITES[0].model_copy(update=rates)
    artefacts = sample_artefacts(np.random.default_rng(0), biology, profile)
    masks = truth_masks(biology, artefacts)
    clean = render(biology, profile, seed=4, mpp=RASTER_UM)
    marked = render(biology, profile, seed=4, mpp=RASTER_UM, artefacts=artefacts)
    changed = np.abs(clean.astype(int) - marked).max(axis=-1) > 12
    touched = masks["pen"] | masks["fold"] | masks["blur"]
    near = cv2.dilate(touched.astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
    assert not changed[~near].any()
    assert changed[masks["pen"]].mean() > 0.95
    density = largest(density_planes(clean, white_point(clean)))
    assert density[masks["tissue"]].mean() > 10 * density[~masks["tissue"]].mean()
    assert masks["lesion"].any()
    assert not (masks["lesion"] & ~masks["tissue"]).any()


def test_the_first_class_has_no_lesion():
    assert not truth_masks(grow(5, CLASSES[0], width_um=200, height_um=200))["lesion"].any()


@pytest.fixture(scope="module")
def views() -> pd.DataFrame:
    """Colour histograms, and sizes of dark objects, of 108 slides of three sites."""
    rows = []
    for number in range(108):
        label, site = number % 3, number // 3 % 3
        profile = (SITES[0], SITES[1], SITES[3])[site]
        biology = grow((77, number), CLASSES[label], width_um=400, height_um=380)
        image = render(biology, profile, seed=(number, 5))
        colours = [np.histogram(image[..., c], bins=16, range=(0, 256))[0] for c in range(3)]
        histogram = np.sqrt(np.concatenate(colours) / image[..., 0].size)
        density = density_planes(image, white_point(image))[0]
        dark = (density > np.quantile(density[density > 0.1], 0.8)).astype(np.uint8)
        sizes = []
        for radius_um in (2.0, 2.5, 3.0, 3.5, 4.0, 4.5):
            side = 2 * round(radius_um / profile.mpp) + 1
            disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
            sizes.append(np.sqrt(cv2.morphologyEx(dark, cv2.MORPH_OPEN, disc).mean() / dark.mean()))
        rows.append({"label": label, "site": site, "colour": histogram, "size": np.array(sizes)})
    return pd.DataFrame(rows)


def balanced(views: pd.DataFrame, features: str, target: str) -> float:
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000))
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    x, y = np.stack(views[features].tolist()), views[target].to_numpy()
    return float(balanced_accuracy_score(y, cross_val_predict(model, x, y, cv=folds)))


def test_colour_tells_the_site_and_not_the_class(views):
    assert balanced(views, "colour", "site") > 0.97
    assert balanced(views, "colour", "label") < 0.45  # chance is 0.333, +- 0.045


def test_structure_tells_the_class(views):
    assert balanced(views, "size", "label") > 0.6

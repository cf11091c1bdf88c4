import hashlib

import cv2
import numpy as np
import pandas as pd
import pytest

from offsite.preprocessing.cohort.table import load_cohort
from offsite.preprocessing.synthetic.fundus.cohort import (
    SyntheticFundusSettings,
    make_fundus_cohort,
    make_photograph,
)
from offsite.preprocessing.synthetic.fundus.retina import grow_retina
from offsite.preprocessing.synthetic.fundus.sites import CLINICS, GRADES, CameraProfile


def small(**changes):
    return SyntheticFundusSettings(**{"patients_per_site": 12, "px": 48, **changes})


def digests(folder):
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted((folder / "images").iterdir())
    }


def test_equal_settings_give_equal_bytes_and_another_seed_others(tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        make_fundus_cohort(tmp_path / name, small(seed=seed), workers=1)
    assert digests(tmp_path / "a") == digests(tmp_path / "b")
    assert (tmp_path / "a/cohort.csv").read_bytes() == (tmp_path / "b/cohort.csv").read_bytes()
    assert set(digests(tmp_path / "a").values()).isdisjoint(digests(tmp_path / "c").values())


def test_the_table_is_a_valid_cohort_with_every_site_and_grade(tmp_path):
    cohort = load_cohort(make_fundus_cohort(tmp_path, small(), workers=1), GRADES)
    assert cohort.sites == tuple(sorted(clinic.name for clinic in CLINICS))
    assert set(cohort.table["label"]) == set(GRADES)
    assert set(cohort.table["eye"]) == {"left", "right"}


def test_a_second_call_keeps_what_is_there_and_other_settings_make_it_anew(tmp_path):
    make_fundus_cohort(tmp_path, small(), workers=1)
    first = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "images").iterdir()}
    make_fundus_cohort(tmp_path, small(), workers=1)
    assert {p.name: p.stat().st_mtime_ns for p in (tmp_path / "images").iterdir()} == first
    make_fundus_cohort(tmp_path, small(style=False), workers=1)
    again = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "images").iterdir()}
    assert all(again[name] != first[name] for name in set(first) & set(again))


def test_without_prevalence_every_site_has_the_same_patients_by_grade(tmp_path):
    settings = small(prevalence=False, graders=False, eyes=(1, 1))
    table = pd.read_csv(make_fundus_cohort(tmp_path, settings, workers=1))
    counts = pd.crosstab(table["site"], table["label"])
    assert (counts == counts.iloc[0]).all(axis=None)


def test_without_graders_the_label_is_the_grade_drawn_and_with_them_it_errs_as_they_do(tmp_path):
    exact = pd.read_csv(make_fundus_cohort(tmp_path / "a", small(graders=False), workers=1))
    assert (exact["label"] == exact["true_label"]).all()
    graded = pd.read_csv(
        make_fundus_cohort(tmp_path / "b", small(patients_per_site=60, px=32), workers=1)
    )
    rank = {name: number for number, name in enumerate(GRADES)}
    off = graded["label"].map(rank) - graded["true_label"].map(rank)
    assert set(off) <= {-1, 0, 1}
    assert (off[graded["site"] == "ashford"] == 0).all()
    late = (graded["site"] == "eastvale") & (graded["true_label"] != "none")
    assert (off[late] == -1).mean() == pytest.approx(0.3, abs=0.12)


def test_without_style_all_cameras_are_one_and_with_it_their_colours_differ(tmp_path):
    colours = {}
    for style in (False, True):
        settings = small(style=style, prevalence=False, graders=False)
        table = pd.read_csv(make_fundus_cohort(tmp_path / str(style), settings, workers=1))
        means = [
            cv2.imread(str(tmp_path / str(style) / image)).reshape(-1, 3)[:, 0].mean()
            for image in table["image"]
        ]
        by_site = pd.Series(means).groupby(table["site"])
        colours[style] = by_site.mean().std() / by_site.std().mean()
    assert colours[False] < 0.5
    assert colours[True] > 2


def test_higher_grades_show_more_lesions():
    counts = []
    for grade in range(5):
        retinas = [grow_retina(np.random.default_rng(s), grade, left=False) for s in range(8)]
        counts.append(np.mean([len(r.microaneurysms) + len(r.haemorrhages) for r in retinas]))
    assert counts[0] == 0
    assert counts[0] < counts[1] < counts[2] < counts[3]
    proliferative = grow_retina(np.random.default_rng(0), 4, left=False)
    assert proliferative.new_vessels
    assert not grow_retina(np.random.default_rng(0), 3, left=False).new_vessels


def test_lesions_darken_or_brighten_the_retina_where_they_lie():
    healthy = make_photograph(3, 0, CameraProfile(noise=0.0), px=96).astype(int)
    severe = make_photograph(3, 3, CameraProfile(noise=0.0), px=96).astype(int)
    changed = np.abs(healthy - severe).max(axis=2) > 40
    assert 0.01 < changed.mean() < 0.5


def test_a_left_eye_mirrors_a_right_one():
    camera = CameraProfile(noise=0.0, vignette=0.0)
    right, left = (make_photograph(5, 2, camera, px=96, left=side) for side in (False, True))
    assert np.abs(right.astype(int) - left[:, ::-1].astype(int)).mean() < 1.5


def test_the_text_is_written_in_the_corner_alone():
    plain = make_photograph(1, 0, CameraProfile(noise=0.0), px=128)
    written = make_photograph(1, 0, CameraProfile(noise=0.0, text=True), px=128)
    rows, columns = np.nonzero((plain != written).any(axis=2))
    assert len(rows) > 20
    assert rows.min() > 110
    assert columns.max() < 90

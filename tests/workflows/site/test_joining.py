"""Hospitals join a head by sums and leave it: the head is that of all rows together."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from safetensors.numpy import load_file

from offsite.errors import InputError
from offsite.evaluation.predictions.table import load_predictions
from offsite.files import file_digest, read_json, write_json
from offsite.preprocessing.fundus.grades import GRADES
from offsite.preprocessing.synthetic.fundus.cohort import (
    SyntheticFundusSettings,
    make_fundus_cohort,
)
from offsite.preprocessing.synthetic.fundus.sites import CLINICS
from offsite.training.heads.site_sums import SiteSums
from offsite.training.heads.sums import RowSums, fit_grades
from offsite.training.run_folder import RunFolder
from offsite.workflows.jobs.job import Job
from offsite.workflows.package.folder import load_package
from offsite.workflows.site.joining import join, leave
from offsite.workflows.site.sums import KEPT_BACK, Exported, export_sums
from offsite.workflows.site.sums_file import HospitalSums, read_sums, write_sums
from offsite.workflows.stages import images, training
from offsite.workflows.stages.registration import package

OWN, NORTH, SOUTH = CLINICS[:2], CLINICS[2].name, CLINICS[3].name


@dataclass(frozen=True)
class Hospitals:
    run: Path
    package: Path
    north: Exported
    south: Exported


def hospital(folder: Path, number: int, patients: int = 40) -> Path:
    made = SyntheticFundusSettings(
        clinics=CLINICS[number : number + 1], patients_per_site=patients, px=72, seed=number
    )
    return make_fundus_cohort(folder, made)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Hospitals:
    folder = tmp_path_factory.mktemp("joined")
    make_fundus_cohort(
        folder / "cohort", SyntheticFundusSettings(clinics=OWN, patients_per_site=40, px=72)
    )
    settings = {
        "task": "retina", "cohort": "cohort/cohort.csv", "classes": list(GRADES),
        "output": "results", "decision": {"ordinal": True},
        "splits": {"val": 0.4, "test": 0.2}, "preparation": {"px": 64},
        "training": {"method": "linear", "backbone": {"stages": "last"}, "linear": {"copies": 1}},
        "evaluation": {"metrics": {"resamples": 100, "calibration_simulations": 50}},
    }  # fmt: skip
    (folder / "job.yaml").write_text(yaml.safe_dump(settings))
    job = Job.load(folder / "job.yaml")
    images.run(job, "prepare")
    run = training.train(job, job.cells()[0])
    model = package(run)

    def sums(number: int) -> Exported:
        name = CLINICS[number].name
        cohort = hospital(folder / name, number)
        return export_sums(cohort, str(model), name, folder / f"{name}-sums", device="cpu",
                           leave_out_rare=True)  # fmt: skip

    return Hospitals(run, model, sums(2), sums(3))


def head_of(run: Path) -> np.ndarray:
    return load_file(run / "weights.safetensors")["classifier.grade_of.weight"][0]


def test_the_joined_head_is_that_of_all_rows_together() -> None:
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(300, 12)) + rng.normal(size=12)
    labels, sites = rng.integers(0, 4, 300), np.repeat(["a", "b", "c"], [150, 100, 50])
    rows[:, 0] += labels
    whole = SiteSums.of(rows, labels, sites, 4)
    pooled = fit_grades(RowSums.of(rows, labels, _weights(sites), 4), [0.3])[0]
    ours = {name: sums for name, sums in whole.by_site().items() if name != "c"}
    theirs = SiteSums.of(rows[sites == "c"], labels[sites == "c"], sites[sites == "c"], 4)
    joined = SiteSums.of_parts({**theirs.by_site(), **ours}, 0.5)
    slope, start = fit_grades(joined.weighted(), [0.3])[0]
    np.testing.assert_allclose(slope, pooled[0], atol=1e-8)
    assert start == pytest.approx(pooled[1], abs=1e-8)
    other_order = SiteSums.of_parts({**ours, **theirs.by_site()}, 0.5)
    np.testing.assert_array_equal(fit_grades(other_order.weighted(), [0.3])[0][0], slope)


def _weights(sites: np.ndarray) -> np.ndarray:
    _, of_row, counts = np.unique(sites, return_inverse=True, return_counts=True)
    weights = counts[of_row] ** -0.5
    return weights / weights.sum()


def test_what_is_sent_holds_no_row_and_the_cases_kept_back_are_no_part_of_it(
    made: Hospitals,
) -> None:
    kept, inside = (
        pd.read_csv(made.north.file.parent / name) for name in (KEPT_BACK, "in_sums.csv")
    )
    assert not set(kept["patient"]) & set(inside["patient"])
    assert kept["patient"].nunique() >= 0.2 * inside["patient"].nunique()
    sums = read_sums(made.north.file)
    assert sums.rows.weights.sum() == pytest.approx(len(inside) - made.north.unanswered)
    content = made.north.file.read_bytes()
    for name in [*inside["patient"], *inside["image"].map(lambda path: Path(path).name)]:
        assert str(name).encode() not in content
    assert made.north.counts["patients"].to_list() == sums.patients.tolist()
    assert all(n == 0 or n >= 5 for n in sums.patients)


def test_hospitals_join_in_any_order_and_leave_without_a_trace(
    made: Hospitals, tmp_path: Path
) -> None:
    both = join(made.run, [made.north.file, made.south.file], tmp_path / "both")
    one_by_one = join(
        join(made.run, [made.south.file], tmp_path / "south"),
        [made.north.file], tmp_path / "after-one-another",
    )  # fmt: skip
    np.testing.assert_array_equal(head_of(both), head_of(one_by_one))
    assert abs(head_of(both) - head_of(made.run)).max() > 1e-4
    left = leave(both, NORTH, tmp_path / "left")
    np.testing.assert_array_equal(head_of(left), head_of(tmp_path / "south"))
    again = leave(left, SOUTH, tmp_path / "as-before")
    np.testing.assert_allclose(head_of(again), head_of(made.run), atol=1e-6)
    rows, before = load_predictions(again), load_predictions(made.run)
    assert rows.logits is not None
    assert before.logits is not None
    assert rows.table["image"].tolist() == before.table["image"].tolist()
    assert read_json(left / "run.json")["facts"]["left"] == [NORTH]
    back = join(left, [made.north.file], tmp_path / "back")
    np.testing.assert_array_equal(head_of(back), head_of(both))
    assert read_json(back / "run.json")["facts"]["left"] == []
    assert RunFolder(both).damaged() is None
    finished = (both / "run.json").stat().st_mtime_ns
    join(made.run, [made.south.file, made.north.file], both)  # it is there
    assert (both / "run.json").stat().st_mtime_ns == finished


def test_a_hospital_whose_images_the_run_has_leaves_with_its_rows(
    made: Hospitals, tmp_path: Path
) -> None:
    gone = OWN[0].name
    left = leave(made.run, gone, tmp_path / "left")
    for name in ("predictions.parquet", "splits.parquet"):
        assert set(pd.read_parquet(left / name)["site"]) == {OWN[1].name}
    assert np.load(left / "embeddings.npy").shape[0] == len(load_predictions(left))
    model = load_package(package(left))
    assert model.record.training_sites == (OWN[1].name,)
    assert any(gone in limit and "left the head" in limit for limit in model.record.limits)
    with pytest.raises(InputError, match="last hospital") as caught:
        leave(left, OWN[1].name, tmp_path / "none")
    assert caught.value.code == "last_hospital"
    assert not (tmp_path / "none").exists()


def test_the_joined_run_is_evaluated_packaged_and_answers_as_any_other(
    made: Hospitals, tmp_path: Path
) -> None:
    joined = join(made.run, [made.north.file], tmp_path / "joined")
    model = load_package(package(joined))
    assert (joined / "evaluation" / "report.html").is_file()
    assert NORTH in model.record.training_sites
    (counts,) = [one for one in model.record.cohort if one.site == NORTH]
    assert counts.images == round(read_sums(made.north.file).rows.weights.sum())
    assert any(NORTH in limit for limit in model.record.limits)
    known = load_predictions(joined)
    assert known.logits is not None
    head = {k: v for k, v in load_file(joined / "weights.safetensors").items() if "classifier" in k}
    grades = known.embeddings @ head["classifier.grade_of.weight"][0]
    steps = np.cumsum(
        (grades + head["classifier.grade_of.bias"] )[:, None] - head["classifier.cuts"], axis=1
    ) / head["classifier.scale"]  # fmt: skip
    np.testing.assert_allclose(known.logits[:, 1:], steps, rtol=1e-3, atol=1e-3)
    # A further hospital sums up with the joined model, and it adds up with the first one's.
    further = export_sums(
        hospital(tmp_path / "further", 3), str(joined / "package"), SOUTH, tmp_path / "more",
        device="cpu", leave_out_rare=True,
    )  # fmt: skip
    assert read_sums(further.file).digest == read_sums(made.south.file).digest


def test_what_does_not_add_up_is_refused_and_nothing_is_written(
    made: Hospitals, tmp_path: Path
) -> None:
    north = read_sums(made.north.file)

    def changed(name: str, **more: object) -> Path:
        write_sums(tmp_path / name, HospitalSums(**{**vars(north), **more}))
        return tmp_path / name

    few = north.patients.copy()
    few[np.flatnonzero(few)[0]] = 4
    cases = {
        "other_model": changed("trunk.npz", reads={**north.reads, "network": "0" * 64}),
        "other_classes": changed("classes.npz", classes=("a", "b", "c", "d", "e")),
        "too_small_cells": changed("few.npz", patients=few),
        "not_sums": changed("more.npz", rows=north.rows.scaled(0.3)),
        "hospital_twice": changed("own.npz", site=OWN[0].name),
    }
    for code, file in cases.items():
        with pytest.raises(InputError) as caught:
            join(made.run, [file], tmp_path / "new")
        assert caught.value.code == code, code
    under_another_name = changed("twin.npz", site="twin")
    with pytest.raises(InputError, match=f"already, as {NORTH}"):
        join(made.run, [made.north.file, under_another_name], tmp_path / "new")
    with pytest.raises(InputError, match="is not in the head") as caught:
        leave(made.run, "nowhere", tmp_path / "new")
    assert caught.value.code == "no_such_hospital"
    with pytest.raises(InputError, match="another run") as caught:
        join(made.run, [made.north.file], made.run)
    assert caught.value.code == "folder_in_use"
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("damage", ["cut", "text", "pickle", "nan", "moments", "huge"])
def test_a_damaged_or_hostile_file_is_refused(made: Hospitals, tmp_path: Path, damage: str) -> None:
    file = tmp_path / "north.npz"
    arrays = dict(np.load(made.north.file))
    if damage == "cut":
        file.write_bytes(made.north.file.read_bytes()[:5000])
    elif damage == "text":
        file.write_text("n,sums\n")
    else:
        if damage == "pickle":
            arrays["n"] = np.array([object()])
        elif damage == "nan":
            arrays["sums"] = arrays["sums"] * np.nan
        elif damage == "moments":
            arrays["second"] = arrays["second"] * 0.1
        else:
            arrays["second"] = np.zeros(100)
        np.savez(file, **arrays)
    with pytest.raises(InputError) as caught:
        join(made.run, [file], tmp_path / "new")
    assert caught.value.code == "not_sums"


def test_too_few_patients_of_a_class_are_not_summed(made: Hospitals, tmp_path: Path) -> None:
    cohort = hospital(tmp_path / "small", 3, patients=9)
    with pytest.raises(InputError, match="fewer than 5") as caught:
        export_sums(cohort, str(made.package), SOUTH, tmp_path / "out", device="cpu")
    assert caught.value.code == "too_small_cells"
    assert not (tmp_path / "out").exists()


def test_a_site_that_the_run_holds_out_cannot_be_fitted_to(made: Hospitals, tmp_path: Path) -> None:
    held = tmp_path / "held"
    shutil.copytree(made.run, held)
    splits = pd.read_parquet(held / "splits.parquet")
    judged = splits.iloc[:1].assign(site=NORTH, site_role="held_out")
    pd.concat([splits, judged]).to_parquet(held / "splits.parquet", index=False)
    record = read_json(held / "run.json")
    record["files"]["splits.parquet"] = file_digest(held / "splits.parquet")
    write_json(held / "run.json", record)
    with pytest.raises(InputError, match="to judge the head") as caught:
        join(held, [made.north.file], tmp_path / "new")
    assert caught.value.code == "judges_here"


def test_what_others_wrote_stays(made: Hospitals, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "notes.txt").write_text("mine")
    with pytest.raises(InputError):
        join(made.run, [made.north.file], theirs)
    assert [path.name for path in theirs.iterdir() if not path.name.startswith(".")] == [
        "notes.txt"
    ]
    sums = tmp_path / "sums"
    sums.mkdir()
    (sums / "sums.npz").write_text("mine")
    cohort = made.north.file.parents[1] / NORTH / "cohort.csv"
    with pytest.raises(InputError) as caught:
        export_sums(cohort, str(made.package), NORTH, sums, device="cpu", leave_out_rare=True)
    assert caught.value.code == "not_ours"
    assert (sums / "sums.npz").read_text() == "mine"

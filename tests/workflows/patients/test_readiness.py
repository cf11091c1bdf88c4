"""Nobody else's is lost where a patient is forgotten, and nothing of the patient stays unseen."""

import shutil
import unicodedata
from pathlib import Path

import pandas as pd
import pytest

from offsite.errors import InputError, InputErrors
from offsite.files import read_json, write_json
from offsite.training.run_folder import NUISANCES, RunFolder
from offsite.workflows.jobs.forgotten import Forgotten
from offsite.workflows.jobs.job import Job
from offsite.workflows.patients import forgetting
from offsite.workflows.patients.distance import drop_stash
from offsite.workflows.patients.entries import begun, nameless
from offsite.workflows.patients.found import LEFT, MADE_AGAIN, REMOVED, fate_of, find, holdings
from offsite.workflows.patients.identity import cohort_with, identity_of
from offsite.workflows.patients.readiness import MENDABLE
from offsite.workflows.patients.run_plans import AGAIN, YOURS
from offsite.workflows.stages.shortcuts import keep_nuisances
from offsite.written import write_own
from tests.workflows.patients import jobs
from tests.workflows.sown import state


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("finished") / "job"
    jobs.do(jobs.photographs(root, ("linear",)), registered=False)
    return root


@pytest.fixture
def job(finished: Path, tmp_path: Path) -> Job:
    shutil.copytree(finished, tmp_path / "job")
    return Job.load(tmp_path / "job" / "job.yaml")


def patients_of(job: Job) -> list[str]:
    return list(dict.fromkeys(job.cohort.table["patient"]))


def refused(job: Job, patient: str) -> InputError:
    """The one fault for which a patient is not forgotten; nothing is changed."""
    job = Job.load(job.file)

    def now() -> dict[str, tuple[object, ...]]:
        known = state([job.file.parent])
        return {path: each for path, each in known.items() if "lock" not in Path(path).name}

    before = now()
    with pytest.raises(InputErrors) as caught:
        forgetting.forget(job, patient)
    assert now() == before
    (fault,) = caught.value.faults
    return fault


@pytest.mark.parametrize("to_the_end", [True, False])
def test_rows_of_another_who_withdrew_go_first_or_every_run_would_be_lost(
    job: Job, to_the_end: bool
) -> None:
    first, second = patients_of(job)[3:5]
    forgotten = Forgotten(job, make_key=True)
    entry = begun(job, find(job, first), forgotten, first)
    forgotten.keep({**entry, "status": "done"} if to_the_end else entry)
    fault = refused(job, second)
    assert fault.code == "forgotten_patient"
    assert first not in str(fault)
    assert ("Remove the patient's rows" in fault.remedy) is to_the_end


def test_images_that_came_since_are_prepared_first_or_every_run_would_be_lost(job: Job) -> None:
    table = pd.read_csv(job.cohort_path, dtype=str, keep_default_na=False)
    new = table.iloc[[0]].assign(patient="new-0001", image="images/new-0001.jpg")
    shutil.copy(
        job.cohort_path.parent / table["image"][0], job.cohort_path.parent / new["image"][0]
    )
    pd.concat([table, new]).to_csv(job.cohort_path, index=False)
    fault = refused(job, patients_of(job)[3])
    assert (fault.code, "1 images of other patients" in fault.problem) == ("not_prepared", True)


def test_a_link_to_a_folder_elsewhere_is_named_and_refused(job: Job) -> None:
    patient = patients_of(job)[3]
    (job.output / "here").symlink_to(job.output / "runs")  # is looked through where it is
    assert find(job, patient).links == []
    (job.output / "runs").rename(job.file.parent / "large")
    (job.output / "here").unlink()
    (job.output / "runs").symlink_to(job.file.parent / "large")
    told = [held for held in holdings(job, find(job, patient)) if "link" in held.what]
    assert [(held.where, held.then) for held in told] == [
        ("results/runs", f"{LEFT}: not looked through")
    ]
    fault = refused(job, patient)
    assert (fault.code, fault.file) == ("linked_folder", str(job.output / "runs"))


@pytest.mark.parametrize("code", ["missing_package", "class_without_training"])
def test_a_run_waits_for_what_the_machine_lacks(
    job: Job, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    found = find(job, patients_of(job)[3])
    (plan,) = found.runs
    folder = RunFolder(job.output / plan.folder)

    def fails(*_: object) -> None:
        raise InputError("it cannot be trained: P-1.png", remedy="Mend it", code=code)

    monkeypatch.setattr(forgetting, "train", fails)
    if code in MENDABLE:
        with pytest.raises(InputError, match="cannot be trained"):
            forgetting._dealt_with(job, found, plan, Path("none"))
    else:
        told = forgetting._dealt_with(job, found, plan, Path("none"))
        assert "cannot be trained" in told["why"]
        assert "P-1.png" not in str(nameless(told))  # as the record has it
    assert (folder.record() is not None) is (code in MENDABLE)


def test_rows_are_those_of_the_file_whatever_is_blank(job: Job) -> None:
    patient = patients_of(job)[3]
    lines = job.cohort_path.read_text().splitlines()
    lines.insert(2, "," * lines[0].count(","))
    lines.insert(4, "")
    job.cohort_path.unlink()
    write_own(job.cohort_path, "\n".join(lines) + "\n")
    found = find(job, f" {unicodedata.normalize('NFD', patient)} ")
    assert found.rows == tuple(n for n, line in enumerate(lines, 1) if f",{patient}," in line)
    assert f"cohort, rows {found.rows[0]}" in next(holdings(job, found)).what
    others = [each for each in patients_of(job) if each != patient]
    forgetting._take_rows_out(job.cohort_path, found.rows)
    assert patients_of(Job.load(job.file)) == others


def test_files_of_a_patient_whose_name_goes_on_stay(job: Job) -> None:
    patient, other = patients_of(job)[3:5]
    longer = f"{patient}-2"
    text = job.cohort_path.read_text().replace(f",{other},", f",{longer},")
    job.cohort_path.write_text(text)
    known = {name: identity_of(job, cohort_with(job), name) for name in (patient, longer)}
    (job.output / "more").mkdir()
    for name, mine in ((f"{patient}_L.svg", patient), (f"{longer}_L.svg", longer)):
        write_own(job.output / "more" / name, "<svg/>")
        for each, identity in known.items():
            fate = fate_of(job, job.output / "more" / name, identity)
            assert (fate == REMOVED) is (each == mine), (name, each)


def test_a_patient_called_like_a_site_is_none_where_sites_stand(job: Job) -> None:
    site, patient = job.cohort.sites[0], patients_of(job)[3]
    job.cohort_path.write_text(job.cohort_path.read_text().replace(f",{patient},", f",{site},"))
    page = job.output / "by-site" / site / "curve.svg"
    page.parent.mkdir(parents=True)
    write_own(page, f"<text>{site}</text>")
    found = find(job, site)
    assert page not in found.others
    assert len(found.rows) == len(found.patient.images) > 0
    assert [plan.becomes for plan in found.runs] == [AGAIN]


def test_what_another_patient_has_now_is_the_others(job: Job) -> None:
    before, now = patients_of(job)[3:5]
    images = identity_of(job, cohort_with(job), before).images
    job.cohort_path.write_text(job.cohort_path.read_text().replace(f",{before},", f",{now},"))
    found = find(job, before)
    assert (found.patient.slides, found.files, found.rows) == (frozenset(), [], ())
    assert images < find(job, now).patient.images
    assert [plan.becomes for plan in found.runs] == [AGAIN]  # its tables say who it was


def test_the_page_beside_a_list_that_was_filled_in_is_named(job: Job) -> None:
    found = find(job, patients_of(job)[3])
    (job.output / "doubts").mkdir()
    table, page = (job.output / "doubts" / f"doubts.{end}" for end in ("csv", "html"))
    for file in (table, page):
        write_own(file, f"image\n{sorted(found.patient.images)[0]}\n")
    assert [fate_of(job, each, found.patient) for each in (table, page)] == [MADE_AGAIN] * 2
    table.write_text(table.read_text() + "a decision\n")
    assert [fate_of(job, each, found.patient) for each in (table, page)] == [LEFT] * 2


def test_shortcuts_of_a_run_are_read_of_those_who_are_left(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    left, patient = patients_of(job)[3:5]
    folder = job.run_folder(job.cells()[0])
    jobs.without(job.file, left)
    keep_nuisances(folder, Job.load(job.file))
    file = folder / NUISANCES
    before = pd.read_parquet(file)
    assert set(before["image"]) == set(Job.load(job.file).cohort.table["image"])
    found = find(Job.load(job.file), patient)
    monkeypatch.setattr(forgetting, "train", lambda *_: file.unlink())
    forgetting._dealt_with(job, found, found.runs[0], Path("none"))
    assert len(pd.read_parquet(file)) >= len(before)
    assert (folder / "evaluation" / "shortcuts.csv").is_file()


def test_what_somebody_put_into_the_output_stays(job: Job) -> None:
    run = job.run_folder(job.cells()[0])
    for name in ("copy", "killed"):
        shutil.copytree(run, job.output / "kept" / name)
    record = job.output / "kept" / "killed" / "run.json"
    write_json(record, read_json(record) | {"status": "running"})
    plans = {plan.folder: plan.becomes for plan in find(job, patients_of(job)[3]).runs}
    assert plans.pop(run.relative_to(job.output).as_posix()) == AGAIN
    assert plans == {"kept/copy": YOURS, "kept/killed": YOURS}
    strangers = job.output / "forgetting" / "mine.parquet"
    strangers.parent.mkdir()
    strangers.write_text("a year's work")
    drop_stash(strangers.parent)
    assert strangers.read_text() == "a year's work"


def test_a_comparison_that_cannot_be_made_again_goes_whole(job: Job) -> None:
    names = ("comparison.csv", "comparison.html", "seeds.csv", "seed_agreement.csv")
    for name in names:
        write_own(job.output / name, "of runs that held the patient")
    (job.output / "seeds.csv").write_text("mine")
    forgetting._compare_again(job, "no such method")
    assert [name for name in names if (job.output / name).exists()] == ["seeds.csv"]

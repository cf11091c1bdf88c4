"""After a patient is forgotten, a job is what it would be had it never had the patient."""

import gzip
import re
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import h5py
import pandas as pd
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from offsite.errors import InputError, InputErrors
from offsite.evaluation.tracking import withdrawal
from offsite.evaluation.tracking.store import client_of
from offsite.files import read_json
from offsite.workflows.cli import app, main
from offsite.workflows.jobs.checking import check_job
from offsite.workflows.jobs.job import Job
from offsite.workflows.patients import forgetting
from offsite.workflows.patients.found import find, holdings
from offsite.workflows.patients.run_plans import CLEARED, plans_of
from offsite.workflows.stages.comparison import baseline_of, compare
from offsite.workflows.stages.registration import register
from offsite.written import write_own
from tests.workflows.patients import jobs
from tests.workflows.sown import state

# Another process that writes to a run, until it is told to end.
HOLDER = """
import sys
from offsite.locks import writing
with writing(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.readline()
"""


@dataclass(frozen=True)
class Made:
    """A finished job, the same one without a patient from the start, and the patient."""

    root: Path
    patient: str
    never: Job

    def copy(self, folder: Path) -> Job:
        """A finished job to forget in; what MLflow keeps of it as files stays where it was made."""
        away = shutil.ignore_patterns("mlartifacts")
        shutil.copytree(self.root / "job", folder / "job", symlinks=True, ignore=away)
        return Job.load(folder / "job" / "job.yaml")


def make(root: Path, config: Path) -> Made:
    """Do a job whose configuration is in ``root/job``, and do it without a patient."""
    table = pd.read_csv(config.parent / "cohort" / "cohort.csv", dtype=str)
    patient = str(table["patient"].iloc[5])
    shutil.copytree(root / "job", root / "never")
    jobs.without(root / "never" / "job.yaml", patient)
    jobs.do(config)
    never = jobs.do(root / "never" / "job.yaml", registered=False)
    return Made(root, patient, never)


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Made:
    root = tmp_path_factory.mktemp("photographs")
    return make(root, jobs.photographs(root / "job", ("linear",)))


def inside(file: Path) -> bytes:
    """All bytes of a file, and those of what is compressed in it."""
    content = file.read_bytes()
    parts = [content, file.name.encode()]
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            parts += [archive.read(name) + name.encode() for name in archive.namelist()]
    elif file.suffix == ".parquet":
        parts.append(pq.read_table(file).to_pandas().to_csv().encode())
    elif file.suffix == ".h5":
        with h5py.File(file) as opened:
            opened.visititems(
                lambda _, each: parts.append(
                    each[()].tobytes() if each.dtype.kind != "O" else repr(each[()]).encode()
                )
                if isinstance(each, h5py.Dataset) else None
            )  # fmt: skip
    elif file.suffix == ".gz":
        parts.append(gzip.decompress(content))
    return b"\n".join(parts)


def naming(folder: Path, words: list[str]) -> list[str]:
    """The files below a folder in which any of the words stands, byte for byte."""
    pattern = re.compile(b"|".join(re.escape(word.encode()) for word in words))
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [str(path.relative_to(folder)) for path in files if pattern.search(inside(path))]


def test_nothing_of_the_patient_is_left_and_all_is_as_if_never(
    photographs: Made, tmp_path: Path
) -> None:
    job = photographs.copy(tmp_path)
    identity = find(job, photographs.patient).patient
    gone = job.output / "prepared" / f"{sorted(identity.slides)[0]}.txt"
    write_own(gone, "made by an earlier version, and removed by hand")
    gone.unlink()
    words = [*identity.cells]
    assert len(naming(job.output, words)) == 9
    before = job.run_folder(job.cells()[0]) / "run.json"
    old = read_json(before)["key"]
    done = CliRunner().invoke(
        app, ["patient", "forget", str(job.file), photographs.patient, "--yes"]
    )
    assert done.exit_code == 0, done.output
    assert naming(job.output, words) == []
    assert photographs.patient not in job.cohort_path.read_text()
    assert jobs.differences(job, photographs.never) == []
    read, never = (jobs.features_by_picture(each) for each in (job, photographs.never))
    assert read.keys() == never.keys()
    assert all((read[key] == never[key]).all() for key in read)

    (entry,) = read_json(job.output / "forgotten.json")["forgotten"]
    assert entry["left"] == {"original": len(identity.images)}
    (run,) = entry["runs"]
    assert run["before"] == old
    assert run["after"] == read_json(before)["key"]
    assert run["distance"]["kl"] > 0
    assert run["distance"]["images"] == len(job.cohort.table)
    check_job(Job.load(job.file))  # the job goes on without the patient

    # MLflow has the new run and its version alone; the old ones are gone for good after gc.
    client = client_of(job.tracking_uri)
    (version,) = client.search_model_versions("name = 'offsite'")
    assert str(version.version) == "2"
    assert client.get_model_version_by_alias("offsite", "candidate").version in (2, "2")
    (gone,) = entry["deleted"]
    assert client.get_run(gone).info.lifecycle_stage == "deleted"
    (command,) = re.findall(r"mlflow gc .*", done.output)
    ran = [sys.executable, "-m", *command.split()]
    assert subprocess.run(ran, check=False, capture_output=True).returncode == 0
    artifacts = photographs.root / "job" / "results" / "mlartifacts"
    assert not [path for path in (artifacts / gone).rglob("*") if path.is_file()]
    assert (artifacts / str(version.run_id)).is_dir()
    assert naming(artifacts, words) == []


STEPS = ("_remove_images", "train", "evaluate_run", "bring_up_to_date", "_take_rows_out",
         "drop_stash", "_left")  # fmt: skip
FEW = (("train", "after"), ("bring_up_to_date", "after"), ("drop_stash", "after"))
ALL = tuple((step, when) for step in STEPS for when in ("before", "after"))


@pytest.mark.parametrize("kills", [FEW, pytest.param(ALL, marks=pytest.mark.slow)])
def test_a_killed_command_goes_on_to_the_same_end(
    photographs: Made,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kills: tuple[tuple[str, str], ...],
) -> None:
    """One call after the other is killed, each a step later, before or after what the step does."""
    job = photographs.copy(tmp_path)
    for step, when in kills:
        real = getattr(forgetting, step)

        def killed(*args: object, real=real, when=when) -> None:  # type: ignore[no-untyped-def]
            if when == "after":
                real(*args)
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(forgetting, step, killed)
            with pytest.raises(KeyboardInterrupt):
                forgetting.forget(Job.load(job.file), photographs.patient)
        entry = read_json(job.output / "forgotten.json")["forgotten"][0]
        assert entry["status"] == "running", step
    if photographs.patient in job.cohort_path.read_text():
        with pytest.raises(InputErrors, match="not yet forgotten to the end"):
            check_job(Job.load(job.file))
    forgetting.forget(Job.load(job.file), photographs.patient)
    assert jobs.differences(job, photographs.never) == []
    (entry,) = read_json(job.output / "forgotten.json")["forgotten"]
    assert entry["status"] == "done"
    assert entry["runs"][0]["distance"]["kl"] > 0
    assert len(entry["deleted"]) == 1
    versions = client_of(job.tracking_uri).search_model_versions("name = 'offsite'")
    assert [str(each.version) for each in versions] == ["2"]
    assert not (job.output / "forgetting").exists()


def test_what_cannot_be_done_is_a_sentence_and_changes_nothing(
    photographs: Made,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    job = photographs.copy(tmp_path)

    def bytes_now() -> dict[str, tuple[object, ...]]:
        known = state([job.file.parent])
        return {path: each for path, each in known.items() if "lock" not in Path(path).name}

    def call(patient: str, command: str = "forget", *more: str) -> SimpleNamespace:
        before, words = bytes_now(), ["patient", command, str(job.file), patient, *more]
        monkeypatch.setattr(sys, "argv", ["offsite", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr().err
        return SimpleNamespace(code=ended.value.code, text=said, same=before == bytes_now())

    assert call(photographs.patient, "find").same
    unknown = call("nobody-0001")
    assert (unknown.code, unknown.same) == (2, True)
    assert "nothing in this job holds" in unknown.text
    unasked = call(photographs.patient)
    assert (unasked.code, unasked.same) == (2, True)
    assert "nobody is here to say" in unasked.text
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(job.run_folder(job.cells()[0]))],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    running = call(photographs.patient, "forget", "--yes")
    holder.communicate("\n")
    assert (running.code, running.same) == (2, True)
    assert "another run is writing" in running.text
    as_it_was = job.file.read_text()
    job.file.write_text(f"{as_it_was}\ntracking: {{uri: 'http://127.0.0.1:1'}}\n")  # nobody listens
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    offline = call(photographs.patient, "forget", "--yes")
    assert (offline.code, offline.same) == (2, True)
    assert "the tracking server does not answer" in offline.text
    job.file.write_text(as_it_was)
    forgetting.forget(job, photographs.patient)
    for command in ("forget", "find"):
        twice = call(photographs.patient, command)
        assert (twice.code, twice.same) == (2, True)
        assert "was forgotten on" in twice.text


@pytest.mark.slow
def test_a_table_of_others_keeps_its_rows_and_the_patient_is_refused_till_they_go(
    photographs: Made, tmp_path: Path
) -> None:
    job = photographs.copy(tmp_path)
    table = job.cohort_path.read_text()
    job.cohort_path.write_text(table.replace("\n", "\r\n"))  # saved by a spreadsheet
    (job.output / "notes.txt").write_text(f"called {photographs.patient} on Monday")
    done = forgetting.forget(job, photographs.patient)
    assert job.cohort_path.read_bytes().decode() == table.replace("\n", "\r\n")
    left = {held.what.split(",")[0]: held.where for held in done.left}
    assert set(left) == {"cohort", "original", "file"}
    assert left["file"].endswith("notes.txt")
    record = (job.output / "forgotten.json").read_bytes()
    with pytest.raises(InputError, match="lists what is left to you"):
        forgetting.forget(Job.load(job.file), photographs.patient)
    assert (job.output / "forgotten.json").read_bytes() == record
    with pytest.raises(InputErrors, match="withdrew consent on") as caught:
        check_job(Job.load(job.file))
    (fault,) = caught.value.faults
    assert (fault.code, fault.row) == ("forgotten_patient", 6)
    jobs.without(job.file, photographs.patient)
    check_job(Job.load(job.file))
    assert jobs.differences(Job.load(job.file), photographs.never) == []
    job.names_key_path.unlink()
    with pytest.raises(InputErrors, match="key that tells who was forgotten") as caught:
        check_job(Job.load(job.file))
    assert caught.value.faults[0].code == "other_names_key"


@pytest.mark.slow
def test_a_version_that_serves_stays_until_another_takes_its_place(
    photographs: Made, tmp_path: Path
) -> None:
    job = photographs.copy(tmp_path)
    client = client_of(job.tracking_uri)
    client.set_registered_model_alias("offsite", "champion", "1")
    done = forgetting.forget(job, photographs.patient)
    assert [v.address for one in done.store.serving for v in one.versions] == ["models:/offsite/1"]
    assert done.store.deleted == []
    served = client.get_model_version_by_alias("offsite", "champion")
    assert str(served.version) == "1"
    assert "withdrew" in served.tags["offsite.withdrawn"]
    with pytest.raises(InputError, match="still serves") as caught:
        forgetting.forget(Job.load(job.file), photographs.patient)
    assert caught.value.code == "forgotten_already"
    client.set_registered_model_alias("offsite", "champion", "2")
    again = forgetting.forget(Job.load(job.file), photographs.patient)
    assert len(again.store.deleted) == 1
    assert [str(v.version) for v in client.search_model_versions("name = 'offsite'")] == ["2"]
    with pytest.raises(InputError, match="nothing left to do"):
        forgetting.forget(Job.load(job.file), photographs.patient)


def test_a_run_that_cannot_be_made_without_the_patient_is_removed(
    photographs: Made, tmp_path: Path
) -> None:
    job = photographs.copy(tmp_path)
    found = find(job, photographs.patient)
    some = job.cohort.table[job.cohort.table["label"] != job.cohort.classes[0]]
    (plan,) = plans_of(job, job.cohort.with_table(some), found.patient)
    assert plan.becomes == CLEARED
    assert "without the patient" in plan.why


def test_find_lists_folders_that_are_named_and_features_of_other_tools(
    photographs: Made, tmp_path: Path
) -> None:
    job = photographs.copy(tmp_path)
    (tmp_path / "more").mkdir()
    worklist = tmp_path / "more" / "worklist.csv"
    pd.DataFrame({"case": [photographs.patient]}).to_csv(worklist)
    for name, text in (("a", "a year's work"), ("b", "[]"), ("c", '{"status": "done"}')):
        (job.output / name).mkdir()
        (job.output / name / "run.json").write_text(text)
    found = find(job, photographs.patient, [tmp_path / "more", job.output])
    assert found.elsewhere == [worklist]
    lines = {(held.what, held.then) for held in holdings(job, found)}
    assert ("file elsewhere", "left to you") in lines
    assert ("run", "made again without the patient") in lines
    assert ("prepared picture", "removed") in lines
    (job.output / "forgotten.json").write_text("a year's work")
    with pytest.raises(InputError) as caught:
        forgetting.forget(job, photographs.patient)
    assert caught.value.code == "not_ours"
    assert find(job, photographs.patient).rows == found.rows


@pytest.mark.slow
def test_networks_and_the_comparison_are_made_again_too(tmp_path: Path) -> None:
    made = make(tmp_path, jobs.photographs(tmp_path / "job"))
    job = made.copy(tmp_path / "copy")
    for each in (job, made.never):
        compare(each, "linear")
        listed = CliRunner().invoke(app, ["cohort", "doubts", str(each.file), "--most", "9"])
        assert listed.exit_code == 0, listed.output
    forgetting.forget(job, made.patient)
    assert jobs.differences(job, made.never) == []
    assert baseline_of(job.output / "comparison.csv") == "linear"
    for name in ("doubts.csv", "doubts.html"):
        files = [each.output / "doubts" / name for each in (job, made.never)]
        assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.slow
def test_a_job_of_slides_forgets_and_names_the_features_of_other_tools(tmp_path: Path) -> None:
    made = make(tmp_path, jobs.slides(tmp_path / "job"))
    job = made.copy(tmp_path / "copy")
    identity = find(job, made.patient).patient
    (slide,) = identity.slides
    foreign = job.output / "features" / "clam" / f"{slide}.h5"
    foreign.parent.mkdir()
    with h5py.File(foreign, "w") as file:
        file["features"] = [[0.0, 1.0]]
    done = forgetting.forget(job, made.patient)
    assert [Path(held.where).name for held in done.left if held.what != "original"] == [
        f"{slide}.h5"
    ]
    foreign.unlink()
    foreign.parent.rmdir()
    assert naming(job.output, [*identity.cells]) == []
    assert jobs.differences(job, made.never) == []


@pytest.mark.slow
def test_a_registered_run_is_found_by_its_key_in_a_store_of_many(
    photographs: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(withdrawal, "PAGE", 1)
    job = photographs.copy(tmp_path)
    other = photographs.never
    register(other.run_folder(other.cells()[0]), "other", job.tracking_uri, "elsewhere")
    found = find(job, photographs.patient)
    assert [v.address for one in found.logged for v in one.versions] == ["models:/offsite/1"]

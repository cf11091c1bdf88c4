"""From a folder of another tool's features and a table of labels to a report, a model and answers."""

import json
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner

from offsite.errors import InputError
from offsite.files import read_json, write_json
from offsite.pathology.slides_of_run import STORE
from offsite.workflows.cli import app
from offsite.workflows.jobs.checking import check_job
from offsite.workflows.jobs.job import Job
from offsite.workflows.package.folder import load_package
from offsite.workflows.server.identity import DIGEST
from offsite.workflows.server.image_root import IMAGES
from offsite.workflows.serving import ServedModel, _load_pyfunc
from offsite.workflows.stages.registration import package
from tests.workflows.feature_folders import LABEL, WIDTH, bags, make, write, write_job
from tests.workflows.sown import state

PAGE = Path(__file__).parents[2] / "docs" / "features_and_labels.md"
MOST_LINES = 10
QUICK = {"training": {"batch_size": 8, "instances": 16, "fit": {"epochs": 3, "device": "cpu"},
                      "model": {"aggregator": {"width": 16, "attention_width": 8}}},
         "evaluation": {"metrics": {"resamples": 100, "calibration_simulations": 50}}}  # fmt: skip


def call(*words: object, code: int = 0) -> str:
    """Call a command; return what it printed, messages and the reason of a refusal included."""
    done = CliRunner().invoke(app, [str(word) for word in words])
    refused = isinstance(done.exception, InputError)  # the program ends with 2
    ended = 2 if refused else done.exit_code
    assert ended == code, f"{words}: {done.output} {done.exception!r}"
    return f"{done.output}{done.exception if refused else ''}"


@dataclass(frozen=True)
class Done:
    """The page's job, done; ``before`` is the state of what lay in the folder of features."""

    root: Path
    run: Path
    package: Path
    before: dict[str, tuple[object, ...]]

    @property
    def features(self) -> Path:
        return self.root / "features"


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Done:
    """What the page says, word for word, with fewer epochs and draws."""
    root = tmp_path_factory.mktemp("page")
    make(root, patients=75)
    features = root / "features"
    write(features, "trident", "of-nobody", np.zeros((4, WIDTH), np.float16))
    write(features, "trident", "S0-07", np.zeros((4, 5), np.float16))  # of another width
    next(features.rglob("S0-08.h5")).unlink()
    write(features, "trident", "S0-10", np.full((4, WIDTH), np.nan, np.float16))
    (features / "_logs_feats.txt").write_text("what the tool said")
    (features / "20x_256px_0px_overlap" / "S0-00.h5.lock").touch()
    (features / "linked").symlink_to(features / "20x_256px_0px_overlap")
    before = state([features])
    blocks = re.findall(r"^```(\w*)\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    job = next(text for kind, text in blocks if kind == "yaml")
    commands = next(text for kind, text in blocks if not kind).splitlines()
    assert len(job.splitlines()) + len(commands) <= MOST_LINES
    (root / "job.yaml").write_text(job + yaml.safe_dump(QUICK))
    here = Path.cwd()
    os.chdir(root)
    try:
        for line in commands:
            call(*line.removeprefix("offsite ").split())
        run = root / commands[-1].split()[-1]
    finally:
        os.chdir(here)
    assert (run / "evaluation" / "report.html").is_file()
    return Done(root, run, package(run), before)


def test_the_page_s_ten_lines_lead_from_the_table_to_the_report(done: Done) -> None:
    listed = pd.read_csv(done.run / "excluded.csv", dtype=str).set_index("slide")
    assert listed["code"].to_dict() == {
        "S0-07": "other_encoder", "S0-08": "not_embedded", "S0-10": "bad_feature_file",
    }  # fmt: skip
    assert listed["message"]["S0-07"] == (
        "Its features are 5 numbers wide, and those of uni_v2 are 12"
    )
    assert listed["message"]["S0-08"] == "No feature file has the slide's name"
    assert "not finite" in listed["message"]["S0-10"]
    predictions = pd.read_parquet(done.run / "predictions.parquet")
    assert len(predictions) == 72
    assert set(predictions["image"]) == {f"S0-{n:02d}" for n in range(75)} - set(listed.index)
    told = read_json(done.run / "run.json")["facts"]["features"]
    assert (told["layouts"], told["files_of_no_slide"]) == (
        {"TRIDENT": 73},
        1,
    )  # of NaN no header tells
    page = (done.run / "evaluation" / "report.html").read_text(encoding="utf-8")
    assert "other encoder" in page or "other_encoder" in page


def test_model_and_card_carry_the_user_s_label_for_the_encoder(done: Done) -> None:
    record = load_package(done.package).record
    assert record.preprocessing["features"]["encoder"]["label"] == LABEL
    assert record.preprocessing["features"]["dimensions"] == WIDTH
    assert "tiles" not in record.preprocessing
    assert record.fingerprints["encoder"] == f"external:{LABEL}:{WIDTH}"
    card = (done.package / "card.md").read_text(encoding="utf-8")
    assert f"{LABEL}, {WIDTH} numbers a tile, of tiles of 256 px a side" in card


def test_a_folder_a_table_and_a_server_give_the_answers_of_evaluation(
    done: Done, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Copied and read only, behind a link, named by a table, and served."""
    copied = tmp_path / "copied"
    few = [f"S0-{n:02d}" for n in (*range(9), 11)]
    for name in few:
        for file in (done.features / "20x_256px_0px_overlap").rglob(f"{name}.h5"):
            target = copied / file.relative_to(done.features)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, target)
            target.chmod(0o444)
    write(copied, "clam_pt", "tensor", bags(1, 3)[1]["S3-00"])
    other = write(copied, "trident", "virchow", bags(1, 3)[1]["S3-00"], encoder="virchow2")
    (copied / "notes.txt").write_text("notes")
    (tmp_path / "link").symlink_to(copied)
    before = state([copied])
    table = pd.read_csv(done.root / "labels.csv").query("slide in @few")
    table.drop(columns="label").to_csv(tmp_path / "new.csv", index=False)
    new = [tmp_path / "link", tmp_path / "new.csv", "-m", done.package, "--workers", 1]
    assert "--features FOLDER" in call("predict", *new, "-o", tmp_path / "x", code=2)
    call("predict", *new, "--features", tmp_path / "link", "-o", tmp_path / "out", code=3)
    assert state([copied]) == before
    rows = pd.read_csv(tmp_path / "out" / "results.csv", keep_default_na=False)
    rows.index = pd.Index([Path(name).stem for name in rows["input"]])
    assert sorted(rows.index) == sorted([*few, "tensor", "virchow"])
    assert rows.loc["S0-08", "code"] == "not_found"  # of the table, and in no folder
    assert rows.loc[["S0-00", "tensor"], "patient"].tolist() == ["p0-0", ""]
    assert rows.loc["virchow", ["status", "code"]].tolist() == ["excluded", "other_encoder"]
    assert rows.loc["S0-07", "code"] == "other_encoder"
    answered = [name for name in few if name not in ("S0-07", "S0-08")]
    kept = pd.read_parquet(done.run / "predictions.parquet").set_index("image")
    cases = {name: tmp_path / "out" / "cases" / rows.loc[name, "case"] for name in rows.index}
    logits = [json.loads((cases[name] / "case.json").read_text())["logits"] for name in answered]
    raw = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    wanted = kept.loc[answered, ["prob_normal", "prob_tumour"]].to_numpy()
    assert np.abs(raw - wanted).max() < 1e-5
    assert wanted.std(axis=0).min() > 1e-3
    assert (cases["S0-00"] / "heatmap.png").is_file()
    assert (cases["S0-00"] / "overlay.png").is_file()
    assert not (cases["tensor"] / "heatmap.png").exists()
    assert "no heatmap" in rows.loc["tensor", "reasons"]
    shown = rows.loc[answered, "prob_tumour"].astype(float)
    monkeypatch.setenv(IMAGES, str(copied))
    monkeypatch.setenv(DIGEST, load_package(done.package).digest)
    served = _load_pyfunc(str(done.package))
    assert isinstance(served, ServedModel)
    named = [str(next(copied.rglob(f"{name}.h5")).relative_to(copied)) for name in answered]
    answers = served.predict(pd.DataFrame({"image": [*named, str(other)]}))
    assert np.allclose(answers["prob_tumour"][:-1].astype(float), shown, atol=1e-6)
    assert answers["code"].iloc[-1] == "other_encoder"


def test_what_needs_the_encoder_that_is_not_here_says_so(done: Done) -> None:
    """No command takes the default encoder for the one that made the folder's features."""
    job = done.root / "job.yaml"
    before = sorted(done.root.rglob("*"))
    for words in (("check", job), ("twins", job), ("twins", job, "--encoder", "structure_baseline"),
                  ("vocabulary", done.run)):  # fmt: skip
        said = call("encoder", *words, code=2)
        assert "the job reads features that another tool made" in said
        assert "Name a job whose slides offsite encodes itself" in said
    new = [path for path in done.root.rglob("*") if path not in before]
    assert [path for path in new if "lock" not in path.name] == []


def test_every_stage_leaves_the_folder_as_it_was(done: Done, tmp_path: Path) -> None:
    """After all that the module did: the page's commands, and the single stage, with a packed copy."""
    job = Job.load(done.root / "job.yaml")
    call("workflow", "embed", done.root / "job.yaml", "--workers", 1, code=3)
    table = pd.read_csv(job.output / "features" / "features.csv", dtype=str).set_index("slide")
    assert table["status"].value_counts().to_dict() == {"embedded": 72, "failed": 3}
    assert set(table["layout"].dropna()) == {"trident"}
    small = ["--set", "training.resident_gib=0", "--set", f"output={tmp_path / 'packed'}"]
    call("train", done.root / "job.yaml", "--set", "training.fit.epochs=1", *small)
    assert (tmp_path / "packed" / "features" / STORE / "store.json").is_file()
    call("patient", "find", done.root / "job.yaml", "p0-3")
    assert state([done.features]) == done.before
    said = call("workflow", "tile", done.root / "job.yaml", code=2)
    assert "no stage 'tile'" in said


def test_a_table_that_does_not_fit_is_refused_with_both_sides_named(tmp_path: Path) -> None:
    config = make(tmp_path, patients=12)
    table = pd.read_csv(tmp_path / "labels.csv")
    table.assign(slide=[f"TCGA-{n}" for n in range(12)]).to_csv(tmp_path / "labels.csv", index=False)  # fmt: skip
    said = call("workflow", "check", config, code=2)
    assert "TCGA-0, TCGA-1, TCGA-2 and 9 more" in said
    assert "S0-00.h5, S0-01.h5, S0-02.h5 and 9 more" in said
    half = table["slide"].where(table.index % 2 == 0, "gone-" + table["slide"])
    table.assign(slide=half).to_csv(tmp_path / "labels.csv", index=False)
    said = call("train", config, code=2)
    assert (
        "6 of 12 slides of labels.csv have no file here (gone-S0-01, gone-S0-03, gone-S0-05 and 3"
        " more)" in said
    )
    assert "Mend the names in column 'slide' of labels.csv" in said
    table.drop(columns="slide").to_csv(tmp_path / "labels.csv", index=False)
    said = call("workflow", "check", config, code=2)
    assert "missing column slide" in said
    assert "`offsite cohort read` makes this one" in said
    write_job(tmp_path, tiles={"mpp": 1.0}, encoder={"mpp": 1.0})
    assert "leave out one or the other" in call("workflow", "check", config, code=2)


def test_many_slides_without_usable_features_are_said_before_anything_is_computed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = make(tmp_path, patients=12)
    check_job(Job.load(config))
    assert "would take no part" not in caplog.text
    for slide, rows in list(bags(12)[1].items())[:5]:
        write(tmp_path / "features", "trident", slide, rows[:, :5])
    check_job(Job.load(config))
    assert (
        "5 of 12 slides of labels.csv would take no part: other_encoder 5 (S0-00: " in caplog.text
    )
    assert "Its features are 5 numbers wide, and those of uni_v2 are 12" in caplog.text


def test_what_could_never_be_predicted_with_is_not_registered(tmp_path: Path) -> None:
    """Features of another tool, put where offsite's own would lie, and no word of it in the job."""
    config = make(tmp_path, "clam", patients=30)
    (tmp_path / "results").mkdir()
    shutil.move(tmp_path / "features", tmp_path / "results" / "features")
    settings = yaml.safe_load(config.read_text())
    del settings["features"]
    config.write_text(yaml.safe_dump(settings))
    table = pd.read_csv(tmp_path / "labels.csv")
    table["image"] = table["slide"] + ".svs"
    for image in table["image"]:
        (tmp_path / image).touch()
    table.to_csv(tmp_path / "labels.csv", index=False)
    call("train", config, "--set", "training.fit.epochs=1")
    run = next((tmp_path / "results").rglob("run.json")).parent
    with pytest.raises(InputError, match="another tool made") as caught:
        package(run)
    assert caught.value.code == "other_encoder"
    assert not (run / "package").exists()
    record = read_json(run / "run.json")
    record["facts"]["encoder_digest"] = "0" * 64  # of offsite's encoder with other weights
    write_json(run / "run.json", record)
    with pytest.raises(InputError, match="or of other weights"):
        package(run)

"""Nothing that another model, image, patient or run left in the folder passes for an answer."""

import csv
import errno
import json
import re
import threading
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from offsite.errors import InputError
from offsite.locks import writing
from offsite.pathology.inference import describe
from offsite.pathology.prediction.pooling import PooledModel
from offsite.pathology.prediction.predictor import SlidePredictor
from offsite.pathology.sc_mil import ScMil
from offsite.pathology.settings import ScMilSettings
from offsite.pathology.tile_encoders.registry import EncoderSettings, load_encoder
from offsite.preprocessing.tiles.table import TileSettings
from offsite.training.prediction.contract import ModelAnswer, Prepared
from offsite.training.prediction.items import Item, item_of
from offsite.workflows.package.folder import Package, load_package, write_package
from offsite.workflows.package.schema import Architecture, OperatingPoint, SiteProfile
from offsite.workflows.package.verification import WEIGHTS
from offsite.workflows.predict.output.tables import _cell
from tests.workflows.packages import small_record
from tests.workflows.tiny import TinyPredictor, photographs, predict, tiny_package


def rows_of(output: Path) -> list[dict[str, str]]:
    with (output / "results.csv").open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def package(tmp_path: Path) -> Package:
    return tiny_package(tmp_path / "model")


def stopped(package: Package, after: int = 1) -> TinyPredictor:
    """A predictor under which the run is interrupted after some batches."""

    class Stopped(TinyPredictor):
        done = 0

        def infer(self, batch: Sequence[Prepared]) -> list[ModelAnswer]:
            if self.done == after:
                raise KeyboardInterrupt
            self.done += 1
            return super().infer(batch)

    return Stopped(package)


def test_a_stopped_run_shows_no_answer_of_another_model(package: Package, tmp_path: Path) -> None:
    paths, out = photographs(tmp_path / "in", 20), tmp_path / "out"
    point = OperatingPoint(threshold=0.3, origin="elsewhere", n=40)
    profiles = {
        **small_record().profiles,
        "south": SiteProfile(role="training", n=9, patients=9, referral=point),
    }
    other = tiny_package(tmp_path / "other", name="another", profiles=profiles)
    predict(other, paths, out, site="south")
    outcome = predict(package, paths, out, stopped(package), site="south")
    assert outcome.exit_code == 130
    rows = rows_of(out)
    assert Counter(row["status"] for row in rows)["pending"] == 12
    assert {row["site_profile"] for row in rows} == {"_pooled", ""}, "of this model alone"
    assert {row["model"] for row in rows} == {"small"}
    page = (out / "cases" / rows[-1]["case"] / "index.html").read_text()
    assert "stopped before" in page
    assert "not finished" in (out / "index.html").read_text()


def test_a_stopped_run_shows_no_answer_to_another_image_or_patient(
    package: Package, tmp_path: Path
) -> None:
    paths, out = photographs(tmp_path / "in", 20), tmp_path / "out"
    table = tmp_path / "cohort.csv"

    def name(patient: str) -> None:
        lines = [f"{path.relative_to(tmp_path)},{patient}{n},north" for n, path in enumerate(paths)]
        table.write_text("\n".join(("image,patient,site", *lines)) + "\n")

    name("right")
    predict(package, [table], out)
    cv2.imwrite(str(paths[-1]), np.full((48, 48, 3), 99, np.uint8))
    predict(package, [table], out, stopped(package, 0))
    assert rows_of(out)[-1]["status"] == "pending"
    name("corrected")
    predict(package, [table], out, stopped(package))
    answered = [row for row in rows_of(out) if row["status"] != "pending"]
    assert answered
    assert all(row["patient"].startswith("corrected") for row in rows_of(out))
    patients = (out / "patients.csv").read_text()
    assert "right" not in patients


def test_parts_give_no_verdict_on_patients(package: Package, tmp_path: Path) -> None:
    paths = photographs(tmp_path / "in", 2)
    table = tmp_path / "cohort.csv"
    rows = [
        f"in/{path.name},p,north,{eye}" for path, eye in zip(paths, ("left", "right"), strict=True)
    ]
    table.write_text("\n".join(("image,patient,site,eye", *rows)) + "\n")
    predict(package, [table], tmp_path / "out", part="1/2")
    assert not list((tmp_path / "out").rglob("patients.csv"))
    predict(package, [table], tmp_path / "out")
    assert (tmp_path / "out" / "patients.csv").exists()


def test_an_answer_that_is_no_number_clears_nobody(package: Package, tmp_path: Path) -> None:
    class Broken(TinyPredictor):
        def infer(self, batch: Sequence[Prepared]) -> list[ModelAnswer]:
            return [ModelAnswer(logits=np.full(3, np.nan, np.float32)) for _ in batch]

    predict(package, photographs(tmp_path / "in", 3), tmp_path / "out", Broken(package))
    rows = rows_of(tmp_path / "out")
    assert {(row["code"], row["decision"]) for row in rows} == {("internal_error", "human_review")}


def test_a_share_that_was_away_is_asked_again(package: Package, tmp_path: Path) -> None:
    class Away(TinyPredictor):
        def prepare(self, item: Item) -> Prepared:
            raise OSError(errno.EIO, "Input/output error")

    paths, out = photographs(tmp_path / "in", 3), tmp_path / "out"
    predict(package, paths, out, Away(package))
    assert {row["code"] for row in rows_of(out)} == {"read_failed"}
    assert predict(package, paths, out).exit_code == 0


@pytest.mark.parametrize(
    ("first", "second", "together"),
    [("", "", False), ("", "1/2", False), ("1/2", "", False), ("1/2", "2/2", True),
     ("1/2", "1/2", False), ("1/2", "1/3", False)],
)  # fmt: skip
def test_two_runs_never_write_the_same_rows(
    first: str, second: str, together: bool, tmp_path: Path
) -> None:
    def other() -> None:
        try:
            with writing(tmp_path, part=second):
                outcome.append(True)
        except InputError as error:
            outcome.append(error.code != "folder_in_use")

    outcome: list[bool] = []
    with writing(tmp_path, part=first):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    with writing(tmp_path, part=second):
        assert outcome == [together]


@pytest.mark.parametrize("text", ["=1+1", "x;=1+1;.png", "x, +1", "a\t@b", "a|-b", "  =1"])
def test_no_cell_is_a_formula_whatever_the_separator(text: str) -> None:

    for cell in re.split(r"[;,|\t]", _cell(text)):
        assert not cell.lstrip().startswith(("=", "+", "-", "@"))
    assert _cell("a-b (c), d") == "a-b (c), d"


def slide_package(folder: Path, **preprocessing: Any) -> Package:
    encoder = load_encoder(EncoderSettings(name="structure_baseline"))
    model = ScMil(encoder.dimensions, 3, ScMilSettings()).eval()
    settings = {
        "tiles": TileSettings().model_dump(mode="json"),
        "encoder": EncoderSettings(name="structure_baseline").model_dump(mode="json"), **preprocessing,
    }  # fmt: skip
    architecture = Architecture(name="sc_mil", settings=describe(model))
    record = small_record(task="slides", architecture=architecture, preprocessing=settings)
    write_package(folder, record, model.inference_state(), {})
    return load_package(folder)


def test_the_weights_are_those_that_were_verified(tmp_path: Path) -> None:
    loaded = slide_package(tmp_path / "slides")
    (tmp_path / "slides" / WEIGHTS).write_bytes(b"exchanged after it was verified")
    predictor = SlidePredictor(loaded, "cpu")
    assert all(
        bool((predictor._model.network.state_dict()[name] == value).all())
        for name, value in loaded.weights.items()
    )


def test_an_answer_for_a_patient_says_which_slides_it_rests_on(tmp_path: Path) -> None:
    of_patients = PooledModel(slide_package(tmp_path / "a", pooling="patient_union"), "cpu")
    unnamed, named = item_of(tmp_path / "x.svs"), item_of(tmp_path / "x.svs", patient="p")
    assert "no table names its patient" in of_patients.notes(unnamed, 0, 1)[0]
    assert "without 2 of the patient's slides" in of_patients.notes(named, 2, 1)[0]
    assert of_patients.notes(named, 0, 1) == ()
    assert PooledModel(slide_package(tmp_path / "b"), "cpu").notes(unnamed, 0, 1) == ()


def test_an_old_record_without_its_key_is_not_read(package: Package, tmp_path: Path) -> None:
    paths, out = photographs(tmp_path / "in", 2), tmp_path / "out"
    predict(package, paths, out)
    case = out / "cases" / rows_of(out)[0]["case"] / "case.json"
    record = json.loads(case.read_text())
    case.write_text(json.dumps({**record, "key": "", "decision": "no_referral"}))
    predict(package, paths, out, stopped(package, 0))
    assert rows_of(out)[0]["status"] == "pending"

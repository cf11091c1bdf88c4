"""What the trunk sees of a photograph is the same in training, evaluation, package, predict, serving."""

from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from offsite.evaluation.predictions.table import load_predictions
from offsite.files import read_json
from offsite.preprocessing.cohort.splits import SplitSettings, split_cohort
from offsite.preprocessing.cohort.table import load_cohort
from offsite.preprocessing.fundus.cohort import prepare_cohort
from offsite.preprocessing.fundus.photograph import FundusSettings, prepare_photograph
from offsite.preprocessing.fundus.reading import read_photograph
from offsite.preprocessing.synthetic.fundus.cohort import (
    SyntheticFundusSettings,
    make_fundus_cohort,
)
from offsite.preprocessing.synthetic.fundus.sites import CLINICS, GRADES
from offsite.retina.inference import fundus_model, grade
from offsite.retina.settings import RetinaSettings
from offsite.retina.training import train_retina
from offsite.training.prediction.contract import ModelAnswer
from offsite.training.trunk.network import folded_state
from offsite.training.trunk.weights import trunk_state
from offsite.workflows.package.folder import Package, load_package
from offsite.workflows.package.making import ModelFacts, package_run
from offsite.workflows.package.temperature import tempered
from offsite.workflows.predict.answers.likeness import Likeness
from offsite.workflows.predict.batch import BatchOptions, run_batch
from offsite.workflows.predict.inputs.listing import find_inputs
from offsite.workflows.predict.running import predictor_for
from offsite.workflows.server.image_root import ImageRoot
from offsite.workflows.serving import ServedModel
from offsite.workflows.site.cases import EMBEDDING, SEEN, LocalCases
from offsite.workflows.site.own_images import own_scores
from offsite.workflows.site.refitting import WithEmbedding

ROWS = 4


@dataclass(frozen=True)
class Made:
    run: Path
    package: Package
    images: list[Path]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("trunk")
    settings = SyntheticFundusSettings(clinics=CLINICS[:2], patients_per_site=18, px=72)
    make_fundus_cohort(folder / "cohort", settings)
    cohort = load_cohort(folder / "cohort" / "cohort.csv", GRADES)
    cohort = split_cohort(cohort, SplitSettings(val=0.4, test=0.1))
    fundus = FundusSettings(px=64)
    prepare_cohort(cohort, folder / "prepared", fundus, workers=1)
    chosen = RetinaSettings.model_validate(
        {"method": "linear", "backbone": {"stages": "late"}, "linear": {"copies": 0}}
    )
    train_retina(cohort, folder / "prepared", chosen, folder / "run")
    facts = ModelFacts(
        name="small", task="photographs", target="grade", architecture="fundus_classifier",
        architecture_settings=read_json(folder / "run" / "run.json")["facts"]["architecture"],
        preprocessing={"fundus": fundus.model_dump(mode="json")}, ordinal=True,
        positive=GRADES[2:],
    )  # fmt: skip
    package = load_package(package_run(folder / "run", None, folder / "package", facts))
    rows = load_predictions(folder / "run").table["image"][:ROWS]
    return Made(folder / "run", package, [folder / "cohort" / image for image in rows])


def test_the_weights_are_those_in_the_box(made: Made) -> None:
    for name, tensor in folded_state(trunk_state()).items():
        np.testing.assert_array_equal(made.package.weights[f"reader.net.{name}"], tensor)


def test_a_sites_own_cases_set_what_is_foreign_there_and_another_organ_stays_so(
    made: Made, real_data: Path, tmp_path: Path
) -> None:
    clinic = SyntheticFundusSettings(clinics=CLINICS[2:3], patients_per_site=24, px=72)
    make_fundus_cohort(tmp_path, clinic)
    network = fundus_model(made.package.weights, made.package.record.architecture.settings, file="")
    settings = FundusSettings(px=64)

    def embedded(pictures: list[np.ndarray]) -> np.ndarray:
        ready = np.stack(pictures)
        return grade(network, lambda rows: ready[rows], len(ready)).embeddings

    def read(path: Path) -> np.ndarray:
        return prepare_photograph(read_photograph(path, 64).pixels, settings).pixels

    own = embedded([read(path) for path in sorted((tmp_path / "images").iterdir())])
    tiles = sorted((real_data / "colon_tiles").rglob("*.png"))[::400]
    discs = []
    for tile in tiles or sorted((real_data / "colon_tiles").rglob("*.jpg"))[::400]:
        disc = cv2.resize(cv2.cvtColor(cv2.imread(str(tile)), cv2.COLOR_BGR2RGB), (64, 64))
        places = np.hypot(*(np.mgrid[:64, :64] - 31.5))
        discs.append(np.where(places[..., None] < 32, disc, 0).astype(np.uint8))
    other_organ = embedded(discs)
    local, later = own[::2], own[1::2]
    logits = np.zeros((len(local), len(GRADES)))
    cases = LocalCases(
        logits=logits, labels=np.zeros(len(local), int), patients=np.arange(len(local)).astype(str),
        percentiles=np.full(len(local), 100.0), unanswered=0, embeddings=local,
    )  # fmt: skip
    package = replace(
        made.package, reference=made.package.reference | own_scores(made.package, cases, "third")
    )

    def foreign(rows: np.ndarray, site: str) -> float:
        likeness = Likeness(package)
        found = [
            likeness.percentiles(ModelAnswer(logits=np.zeros(5), embedding=row), site)
            for row in rows
        ]
        return float(np.mean([max(p for p in pair if p is not None) >= 99 for pair in found]))

    assert foreign(later, "third") < 0.25
    assert foreign(other_organ, "third") == 1.0
    assert foreign(later, "elsewhere") > foreign(later, "third")


def test_the_features_are_equal_on_every_way(made: Made, tmp_path: Path) -> None:
    predictions = load_predictions(made.run)  # what training kept, and evaluation reads
    assert predictions.embeddings is not None
    assert predictions.logits is not None
    predictor = WithEmbedding(predictor_for(made.package, "cpu"))
    inputs = find_inputs(made.images, leave_out=tmp_path)
    outcome = run_batch(made.package, predictor, inputs, BatchOptions(output=tmp_path / "out"))
    told = {Path(record["input"]).name: record for record in outcome.records()}
    temperature = float(made.package.reference["calibration/_pooled/temperature"])
    served = ServedModel(made.package.path, ImageRoot(made.images[0].parent)).predict(
        pd.DataFrame({"image": [path.name for path in made.images]})
    )
    for row, path in enumerate(made.images):
        record = told[path.name]
        features = predictions.embeddings[row]
        np.testing.assert_allclose(record["facts"][EMBEDDING], features, atol=1e-4)
        assert record["facts"][SEEN] == record["facts"][EMBEDDING]
        np.testing.assert_allclose(record["logits"], predictions.logits[row], atol=2e-3)
        wanted = tempered(predictions.logits[row][None], temperature)[0]
        shares = served.loc[row, [f"prob_{name}" for name in GRADES]].to_numpy(float)
        np.testing.assert_allclose(shares, wanted, atol=1e-3)
        assert served.loc[row, "trunk_percentile"] == pytest.approx(
            record["trunk_percentile"], abs=0.5
        )

"""What the trunk sees of a photograph is the same in training, evaluation, package, predict, serving."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from offsite.evaluation.predictions.table import load_predictions
from offsite.files import read_json
from offsite.preprocessing.cohort.splits import SplitSettings, split_cohort
from offsite.preprocessing.cohort.table import load_cohort
from offsite.preprocessing.fundus.cohort import prepare_cohort
from offsite.preprocessing.fundus.photograph import FundusSettings
from offsite.preprocessing.synthetic.fundus.cohort import (
    SyntheticFundusSettings,
    make_fundus_cohort,
)
from offsite.preprocessing.synthetic.fundus.sites import CLINICS, GRADES
from offsite.retina.settings import RetinaSettings
from offsite.retina.training import train_retina
from offsite.training.trunk.network import folded_state
from offsite.training.trunk.weights import trunk_state
from offsite.workflows.package.folder import Package, load_package
from offsite.workflows.package.making import ModelFacts, package_run
from offsite.workflows.package.temperature import tempered
from offsite.workflows.predict.batch import BatchOptions, run_batch
from offsite.workflows.predict.inputs.listing import find_inputs
from offsite.workflows.predict.running import predictor_for
from offsite.workflows.server.image_root import ImageRoot
from offsite.workflows.serving import ServedModel
from offsite.workflows.site.cases import EMBEDDING, SEEN
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
        np.testing.assert_allclose(record["facts"][EMBEDDING], features, atol=2e-5)
        assert record["facts"][SEEN] == record["facts"][EMBEDDING]
        np.testing.assert_allclose(record["logits"], predictions.logits[row], atol=2e-3)
        wanted = tempered(predictions.logits[row][None], temperature)[0]
        shares = served.loc[row, [f"prob_{name}" for name in GRADES]].to_numpy(float)
        np.testing.assert_allclose(shares, wanted, atol=1e-3)
        assert served.loc[row, "trunk_percentile"] == pytest.approx(
            record["trunk_percentile"], abs=0.5
        )

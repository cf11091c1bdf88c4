"""Real photographs of three hospitals and foreign pictures, seen by a plain linear model."""

from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from offsite.evaluation.conformal.table import conformal_table
from offsite.evaluation.ood.settings import OodSettings
from offsite.evaluation.ood.table import ood_table
from offsite.evaluation.predictions.table import Predictions
from offsite.evaluation.settings import ConformalSettings, ShiftSettings
from offsite.evaluation.shift.table import shift_tables
from offsite.evaluation.statistics.sites import Sites

pytestmark = pytest.mark.slow

SIDE = 28  # that of RetinaMNIST, so that no site is told by its resolution
CLASSES = ("not_referable", "referable")


def small(path: Path) -> np.ndarray:
    image = cv2.imread(str(path), cv2.IMREAD_REDUCED_COLOR_4)
    return cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA)[..., ::-1]


def features(images: np.ndarray) -> np.ndarray:
    """Colour moments and an 8 x 8 thumbnail, N x 201."""
    values = np.asarray(images, dtype=np.float64) / 255
    thumbnails = [cv2.resize(image, (8, 8), interpolation=cv2.INTER_AREA) for image in values]
    moments = [values.mean(axis=(1, 2)), values.std(axis=(1, 2)), np.median(values, axis=(1, 2))]
    return np.hstack([np.reshape(thumbnails, (len(values), -1)), *moments])


def site(folder: Path, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    table = pd.read_csv(folder / "labels.csv").dropna(subset=["dr_grade"])
    table = table.sample(min(count, len(table)), random_state=seed)
    images = np.stack([small(folder / name) for name in table["file"]])
    return features(images), (table["dr_grade"].to_numpy() >= 2).astype(np.int64)


def rows(name, z, labels, role, split):
    count = len(z)
    frame = {
        "image": [f"{name}-{index}" for index in range(count)],
        "patient": [f"{name}-{index}" for index in range(count)],
        "site": name,
        "site_role": role,
        "split": split,
        "label": ["" if label < 0 else CLASSES[label] for label in labels],
    }
    return pd.DataFrame(frame), z, labels


def predictions_of(model, scale, parts):
    tables, zs, labels = zip(*parts, strict=True)
    z = (np.concatenate(zs) - scale[0]) / scale[1]
    logit = model.decision_function(z)
    logits = np.column_stack([np.zeros(len(z)), logit])
    second = 1 / (1 + np.exp(-logit))
    return Predictions(
        table=pd.concat(tables, ignore_index=True),
        classes=CLASSES,
        probabilities=np.column_stack([1 - second, second]),
        labels=np.concatenate(labels),
        embeddings=z,
        logits=logits,
    )


@pytest.fixture(scope="module")
def real(real_data):
    rng = np.random.default_rng(0)
    parts = []
    for name, folder in (("idrid", "dr_idrid"), ("messidor2", "dr_messidor2")):
        z, labels = site(real_data / folder, 500, 1)
        split = rng.choice(["train", "val", "test"], len(z), p=[0.5, 0.2, 0.3])
        parts.append(rows(name, z, labels, "training", split))
    z, labels = site(real_data / "dr_aptos_filtered", 200, 2)
    parts.append(rows("aptos", z, labels, "held_out", "test"))
    with np.load(real_data / "medmnist" / "retinamnist.npz") as retina:
        z, labels = features(retina["test_images"]), (retina["test_labels"].ravel() >= 2)
    parts.append(rows("deepdrid", z, labels.astype(np.int64), "held_out", "test"))
    train = [(z, y, t["split"].to_numpy() == "train") for t, z, y in parts[:2]]
    z = np.concatenate([z[own] for z, _, own in train])
    y = np.concatenate([y[own] for _, y, own in train])
    scale = z.mean(axis=0), z.std(axis=0) + 1e-6
    model = LogisticRegression(C=0.01, max_iter=500).fit((z - scale[0]) / scale[1], y)
    with np.load(real_data / "medmnist" / "breastmnist.npz") as breast:
        grey = breast["test_images"]
    ultrasound = features(np.repeat(grey[..., None], 3, axis=3))
    pictures = sorted((real_data / "natural_ood").rglob("*.jpg"))
    natural = features(np.stack([small(path) for path in pictures]))
    foreign = [
        rows(name, z, np.full(len(z), -1), "held_out", "test")
        for name, z in (("ultrasound", ultrasound), ("natural", natural))
    ]
    return predictions_of(model, scale, parts), predictions_of(model, scale, foreign)


def value(table, **where):
    for name, wanted in where.items():
        table = table[table[name] == wanted]
    assert len(table) == 1
    assert table.iloc[0].reason == "ok"
    return float(table.iloc[0].value)


def test_foreign_pictures_are_far_and_other_hospitals_lie_between(real):
    predictions, far = real
    table = ood_table(Sites.of(predictions), OodSettings(resamples=100), far=far)
    for name in ("mahalanobis", "residual"):
        for kind in ("ultrasound", "natural"):
            assert value(table, detector=name, site=kind, metric="auroc") > 0.98
            assert value(table, detector=name, site=kind, metric="flag_rate") > 0.9
        inside = value(
            table, detector=name, category="in_distribution", site="_pooled", metric="flag_rate"
        )
        assert inside < 0.12
        # The filtered copy of APTOS looks like nothing the model has seen.
        assert (
            value(table, detector=name, category="covariate_shifted", site="aptos", metric="auroc")
            > 0.95
        )
    # Confidence, on the contrary, may be high on an ultrasound.
    assert value(table, detector="msp", site="ultrasound", metric="auroc") < 0.9


def test_hospitals_are_told_apart_by_their_photographs(real):
    predictions, _ = real
    heads, details = shift_tables(
        Sites.of(predictions), ShiftSettings(permutations=199, resamples=100)
    ).values()
    for name in ("aptos", "deepdrid", "messidor2"):
        row = heads[(heads.site == name) & (heads.kind == "covariate")].iloc[0]
        assert row.p_value <= 0.05
    assert value(details, site="_pooled", statistic="site_balanced_accuracy") > 0.8
    assert value(details, site="_pooled", statistic="robustness_index") < 0.6
    assert value(details, site="aptos", statistic="c2st_auroc") > 0.95


def test_a_prior_is_not_estimated_where_the_hospital_itself_moves_the_outputs(real):
    predictions, _ = real
    _, details = shift_tables(
        Sites.of(predictions), ShiftSettings(permutations=99, resamples=60)
    ).values()
    rows = details[(details.site == "deepdrid") & (details.kind == "prevalence")]
    # Half of the cases are referable at both; EM alone would say that none is at this one.
    assert value(rows, statistic="prior_distance") < 0.05
    assert set(rows.reason[rows.statistic.str.startswith("prior/")]) == {"prior_unidentified"}


def test_coverage_is_kept_at_the_training_sites(real):
    predictions, _ = real
    table = conformal_table(Sites.of(predictions), ConformalSettings(levels=(0.9,), weighted=False))
    pooled = table[(table.site == "_pooled") & (table.label == "_all")].set_index("site_role")
    inside = pooled.loc["training"]
    assert inside.low < 0.93
    assert inside.high > 0.87

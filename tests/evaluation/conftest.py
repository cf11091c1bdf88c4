"""Predictions of a linear model on Gaussian features at several sites, with known shifts."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from offsite.evaluation.predictions.table import Predictions

DIMENSIONS = 8


def multi_site(
    sizes: dict[str, int],
    *,
    moved: dict[str, float] | None = None,
    priors: dict[str, tuple[float, ...]] | None = None,
    unlabelled: tuple[str, ...] = (),
    held_out: tuple[str, ...] = (),
    per_patient: int = 1,
    classes: int = 3,
    splits: tuple[float, float, float] = (0.5, 0.25, 0.25),
    noise: float = 1.0,
    seed: int = 0,
) -> Predictions:
    """Rows of several sites whose model is calibrated where nothing is moved.

    A site in ``moved`` has all its features shifted by that length in a direction that the model
    does not use; ``priors`` gives a site its own class frequencies.
    """
    rng = np.random.default_rng(seed)
    centres = np.zeros((classes, DIMENSIONS))
    centres[np.arange(classes), np.arange(classes)] = 2.0
    even = np.full(classes, 1 / classes)
    tables, features, labels = [], [], []
    for site, count in sizes.items():
        prior = np.asarray((priors or {}).get(site, even))
        truth = rng.choice(classes, size=count, p=prior)
        rows = centres[truth] + noise * rng.normal(size=(count, DIMENSIONS))
        rows[:, -1] += (moved or {}).get(site, 0.0)
        patients = np.arange(count) // per_patient
        split = np.repeat(
            rng.choice(["train", "val", "test"], patients.max() + 1, p=splits), per_patient
        )
        outside = site in held_out
        tables.append(
            pd.DataFrame(
                {
                    "image": [f"{site}-{index}" for index in range(count)],
                    "patient": [f"{site}-p{patient}" for patient in patients],
                    "site": site,
                    "site_role": "held_out" if outside else "training",
                    "split": "test" if outside else split[:count],
                    "label": "" if site in unlabelled else [f"c{label}" for label in truth],
                }
            )
        )
        features.append(rows)
        labels.append(np.full(count, -1) if site in unlabelled else truth)
    embeddings = np.concatenate(features)
    logits = embeddings @ centres.T / noise**2 - (centres**2).sum(axis=1) / (2 * noise**2)
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    return Predictions(
        table=pd.concat(tables, ignore_index=True),
        classes=tuple(f"c{label}" for label in range(classes)),
        probabilities=odds / odds.sum(axis=1, keepdims=True),
        labels=np.concatenate(labels).astype(np.int64),
        embeddings=embeddings,
        logits=logits,
    )


@pytest.fixture(scope="session")
def make_sites() -> Callable[..., Predictions]:
    """The maker of multi-site predictions."""
    return multi_site

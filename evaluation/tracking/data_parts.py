"""The images behind a run as MLflow's datasets: one for each site and split, with a digest."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from offsite.evaluation.tables.reading import records

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

CONTEXTS = {"train": "training", "val": "validation", "test": "test"}
_DIGEST = 16
_MOST = 300


@dataclass(frozen=True, kw_only=True)
class DataPart:
    """The images of one site and split.

    Attributes
    ----------
    site, context : str
        Site, and ``training``, ``validation`` or ``test``.
    digest : str
        Of images and labels: two models that were measured on the same cases show the same one.
    images, patients : int
        How many there are.
    """

    site: str
    context: str
    digest: str
    images: int
    patients: int

    @property
    def name(self) -> str:
        """What the page calls it."""
        return f"{self.site}, {self.context}"


def data_parts(table: pd.DataFrame) -> list[DataPart]:
    """The parts of a predictions table: test sites first, and no name of an image or patient.

    Parameters
    ----------
    table : pandas.DataFrame
        ``image, patient, site, split, label``.
    """
    parts = []
    for (site, split), rows in table.groupby(["site", "split"], sort=True):
        if split in CONTEXTS:
            lines = sorted(rows["image"].astype(str) + "\x1f" + rows["label"].astype(str))
            digest = hashlib.sha256("\x1e".join(lines).encode()).hexdigest()[:_DIGEST]
            patients = rows["patient"].nunique()
            parts.append(_part(str(site), str(split), digest, len(rows), patients))
    return sorted(parts, key=lambda part: part.context != "test")


def parts_of_cohort(cohort: pd.DataFrame, digest: str) -> list[DataPart]:
    """The same from an evaluation's table of its cohort, where the predictions are another's.

    Parameters
    ----------
    cohort : pandas.DataFrame
        ``site, split, n, n_patients``.
    digest : str
        SHA-256 (hex) of the predictions; the digest of every part.
    """
    return [
        _part(row["site"], row["split"], digest[:_DIGEST], int(row["n"]), int(row["n_patients"]))
        for row in records(cohort)
        if row["split"] in CONTEXTS
    ]


def _part(site: str, split: str, digest: str, images: int, patients: int) -> DataPart:
    context = CONTEXTS[split]
    return DataPart(site=site, context=context, digest=digest, images=images, patients=patients)


def log_parts(client: "MlflowClient", run_id: str, parts: Iterable[DataPart]) -> None:
    """Enter the parts as inputs of a run; those that are there already stay as they are."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    inputs = [
        DatasetInput(
            dataset=Dataset(
                name=part.name,
                digest=part.digest,
                source_type="local",
                source=json.dumps({"uri": "cohort"}),
                profile=json.dumps({"num_rows": part.images, "patients": part.patients}),
            ),
            tags=[InputTag("mlflow.data.context", part.context)],
        )
        for part in list(parts)[:_MOST]
    ]
    if inputs:
        client.log_inputs(run_id, inputs)

"""What MLflow lists beside a run: its images, a dataset for each site and split, and its model."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from offsite.evaluation.tables.reading import records
from offsite.evaluation.tracking.keys import slug

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient

WEIGHTS = "offsite.weights"
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
        _part(row["site"], row["split"], digest[:_DIGEST], row["n"], row["n_patients"])
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


def model_of(run: "Run") -> str | None:
    """The identifier of a run's model, where one was logged."""
    outputs = getattr(run.outputs, "model_outputs", None) or []
    return str(outputs[0].model_id) if outputs else None


def log_model(
    client: "MlflowClient", run: "Run", name: str, weights: str, tags: Mapping[str, str]
) -> str:
    """Enter the model of a run once, and return its identifier.

    It has no files of its own: the package that is registered lies with the run.

    Parameters
    ----------
    client : MlflowClient
        Of the store.
    run : Run
        The run that made it, as the store has it now.
    name : str
        What the page calls it.
    weights : str
        SHA-256 (hex) of the weights.
    tags : mapping of str to str
        What else is told of it.
    """
    from mlflow.entities import LoggedModelOutput

    known = model_of(run)
    if known is not None:
        client.set_logged_model_tags(known, {WEIGHTS: weights, **tags})
        return known
    made = client.create_logged_model(
        run.info.experiment_id,
        name=slug(name).replace("_", "-"),
        source_run_id=run.info.run_id,
        tags={WEIGHTS: weights, **tags},
        model_type="offsite",
    )
    client.finalize_logged_model(made.model_id, "READY")
    client.log_outputs(run.info.run_id, [LoggedModelOutput(made.model_id, 0)])
    return str(made.model_id)

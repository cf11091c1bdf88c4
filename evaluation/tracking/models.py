"""The model of a run as MLflow lists models: beside its numbers."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from offsite.evaluation.tracking.keys import slug

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient

WEIGHTS = "offsite.weights"


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

"""One run above those of a method, with what each of them found at its held-out sites."""

from typing import TYPE_CHECKING

from offsite.evaluation.tracking.describing import LONGEST, plain
from offsite.evaluation.tracking.runs import run_of
from offsite.evaluation.tracking.store import client_of

if TYPE_CHECKING:
    from mlflow.entities import Run

HEADLINE = "offsite.headline"
KIND, NOTE = "offsite.kind", "mlflow.note.content"
METHOD, ABOVE = "method", "mlflow.parentRunId"


def method_run(uri: str, experiment: str, method: str, key: str, start: int | None = None) -> str:
    """The run under which those of a method are shown; made where there is none.

    Parameters
    ----------
    uri, experiment : str
        Tracking store, and name of the experiment.
    method : str
        Its name.
    key : str
        Job key that tells methods of several jobs in one experiment apart.
    start : int, optional
        When the first run of the method began, in ms since 1970.
    """
    client = client_of(uri)
    run = run_of(client, uri, experiment, method, key, start=start)
    client.set_tag(run.info.run_id, KIND, METHOD)
    return str(run.info.run_id)


def show_under(uri: str, run: str, above: str) -> None:
    """Show a run below another one, wherever it was shown before."""
    client = client_of(uri)
    if client.get_run(run).data.tags.get(ABOVE) != above:
        client.set_tag(run, ABOVE, above)


def tell_method(uri: str, parent: str, end: int | None = None) -> None:
    """Describe a method's run by the runs below it, the page of each a click away.

    One that has none below it any more is deleted; one of another maker, or gone, is left alone.
    """
    from mlflow.exceptions import MlflowException

    client = client_of(uri)
    try:
        whole = client.get_run(parent)
    except MlflowException:
        return
    if whole.data.tags.get(KIND) != METHOD or whole.info.lifecycle_stage != "active":
        return
    place = whole.info.experiment_id
    below = client.search_runs([place], f"tags.`{ABOVE}` = '{parent}'", max_results=1000)
    if not below:
        client.delete_run(parent)
        return
    lines = sorted(_line(run) for run in below)
    text = "**At sites that were not trained on**, by run:\n"
    for number, line in enumerate(lines):
        if len(text) + len(line) > LONGEST - 100:
            text += f"\n- and {len(lines) - number} more runs"
            break
        text += f"\n{line}"
    client.set_tag(parent, NOTE, text)
    ends = [run.info.end_time for run in below if run.info.end_time]
    client.set_terminated(parent, "FINISHED", end_time=max([*ends, end or 0]) or None)


def _line(run: "Run") -> str:
    page = f"#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}"
    found = run.data.tags.get(HEADLINE, "not measured")
    return f"- [{plain(str(run.info.run_name))}]({page}): {found}"

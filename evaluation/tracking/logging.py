"""MLflow as a sink: a stage writes its files, then one writer logs them in batches.

Nothing here decides anything: whatever MLflow shows stands in the run folder and the evaluation
folder too. A job that is run again finds its MLflow run again by its key.
"""

import json
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from offsite.errors import InputError
from offsite.evaluation.tables.reading import table_text
from offsite.evaluation.tracking.data_parts import DataPart, log_model, log_parts
from offsite.evaluation.tracking.describing import description, headline
from offsite.evaluation.tracking.keys import (
    curve_metrics,
    finite,
    site_slugs,
)
from offsite.evaluation.tracking.methods import ABOVE, HEADLINE, NOTE
from offsite.evaluation.tracking.runs import run_of
from offsite.evaluation.tracking.shown import shown_metrics, with_shipped
from offsite.evaluation.tracking.store import client_of
from offsite.evaluation.tracking.told import NOTHING, Told
from offsite.files import digest_of, file_digest

if TYPE_CHECKING:
    from mlflow.entities import Metric, Run
    from mlflow.tracking import MlflowClient

_CONTENT = "offsite.content"
_STARTED = "offsite.logging_started_ms"
_LEFT_OUT = "offsite.metric_keys_left_out"
_OUTDATED = "offsite.metric_keys_outdated"
_METRICS_A_BATCH = 1000
_PARAMS_A_BATCH = 100
_PARAM_CHARACTERS = 6000
_TAG_CHARACTERS = 5000


def log_run(
    uri: str,
    experiment: str,
    run_name: str,
    *,
    job_key: str,
    params: Mapping[str, Any] | None = None,
    tags: Mapping[str, str] | None = None,
    curves: Sequence[Mapping[str, Any]] | str | Path = (),
    per_site: pd.DataFrame | None = None,
    artifacts: Sequence[str | Path] = (),
    parent: str | None = None,
    told: Told = NOTHING,
) -> str:
    """Log one run whole, and return its MLflow run identifier.

    Parameters
    ----------
    uri : str
        Tracking store, see :func:`offsite.evaluation.tracking.store.initialise`.
    experiment, run_name : str
        What the tracking page calls them.
    job_key : str
        Digest of the job's inputs and settings. The same key finds the same run: a finished one
        with the same content is left alone, an unfinished one is completed, none is doubled.
    params : mapping, optional
        Settings; nested groups are joined by a dot. They never change within a job key.
    tags : mapping of str to str, optional
        Further tags.
    curves : list of mappings, or path
        A mapping for each epoch, or the ``curves.jsonl`` of a run. ``epoch`` is the step.
    per_site : pandas.DataFrame, optional
        The per-site table; some of it is logged as keys
        (:data:`offsite.evaluation.tracking.shown.KEYS`), and all of it as an artifact.
    artifacts : list of paths
        Files and folders to keep with the run, under their own names.
    parent : str, optional
        Identifier of the run that this one is shown under.
    told : Told
        What its page tells besides: description, data, model, times.

    Raises
    ------
    InputError
        Two sites have one slug, an artifact is missing, or the job key was used with other
        parameters.
    """
    client = client_of(uri)
    epochs = _epochs(curves)
    wanted = _params(params or {})
    paths = [Path(path) for path in artifacts]
    _check_present(paths)
    final, left_out = _shown(per_site, told)
    content = digest_of(
        [
            wanted,
            [[step, values] for step, values in epochs],
            final,
            dict(tags or {}),
            [_artifact_digest(p) for p in paths],
            told.facts(),
        ]
    )
    run = run_of(client, uri, experiment, run_name, job_key, parent, told.started)
    identifier = str(run.info.run_id)
    if run.info.status == "FINISHED" and run.data.tags.get(_CONTENT) == content:
        return identifier
    _check_same_params(run, wanted, job_key)
    moment = _moment(run, content)
    texts = {**_words(per_site, told, parent), **(tags or {})}
    texts |= {_CONTENT: content, _STARTED: str(moment)}
    outdated = _outdated(run, epochs, final)
    if outdated or _OUTDATED in run.data.tags:
        texts[_OUTDATED] = outdated or "none"
    if left_out or _LEFT_OUT in run.data.tags:
        texts[_LEFT_OUT] = str(left_out)
    _log_texts(client, identifier, texts, wanted, set(run.data.params))
    log_parts(client, identifier, told.parts)
    model = None
    if told.weights:
        model = log_model(client, client.get_run(identifier), run_name, told.weights, tags or {})
    about = _About(model=model, parts=_parts_of_sites(per_site, told))
    _log_metrics(client, identifier, epochs, final, moment, about)
    if per_site is not None:
        client.log_text(identifier, table_text(per_site), "per_site.csv")
    for path in paths:
        if path.is_dir():
            client.log_artifacts(identifier, str(path), path.name)
        else:
            client.log_artifact(identifier, str(path))
    client.set_terminated(identifier, "FINISHED", end_time=told.finished)
    return identifier


def _outdated(run: "Run", epochs: list[tuple[int, dict[str, float]]], final: Iterable[str]) -> str:
    """Keys that the run shows from earlier content and has no more: MLflow deletes no metric."""
    current = set(final).union(*(values for _, values in epochs))
    return ", ".join(sorted(set(run.data.metrics) - current))


def _moment(run: "Run", content: str) -> int:
    """One timestamp (ms) for all attempts at the same content: a repeated metric is the same row.

    It is the run's own for what is logged first, so that processes that log it together agree.
    """
    logged = run.data.tags.get(_CONTENT)
    if logged is None:
        return int(run.info.start_time)
    return int(run.data.tags[_STARTED]) if logged == content else int(time.time() * 1000)


def _epochs(curves: Sequence[Mapping[str, Any]] | str | Path) -> list[tuple[int, dict[str, float]]]:
    if isinstance(curves, str | Path):
        lines = Path(curves).read_text(encoding="utf-8").splitlines()
        curves = [json.loads(line) for line in lines if line.strip()]
    return [(int(row.get("epoch", step)), curve_metrics(row)) for step, row in enumerate(curves)]


def _params(params: Mapping[str, Any], above: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for name, value in params.items():
        key = re.sub(r"[^\w\-. :/]", "_", f"{above}{name}")[:250]
        if isinstance(value, Mapping) and value:
            flat |= _params(value, f"{key}.")
        else:
            text = value if isinstance(value, str) else json.dumps(value, default=str)
            flat[key] = text[:_PARAM_CHARACTERS]
    return flat


def _check_present(paths: Sequence[Path]) -> None:
    for path in paths:
        if not path.exists():
            raise InputError(
                "no such artifact", file=path, remedy="Log a run after its files are written"
            )


def _artifact_digest(path: Path) -> list[str]:
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    return [f"{file.relative_to(path.parent)} {file_digest(file)}" for file in files]


def _check_same_params(run: "Run", wanted: Mapping[str, str], job_key: str) -> None:
    for key, value in run.data.params.items():
        if key in wanted and wanted[key] != value:
            raise InputError(
                f"job {job_key[:12]} was logged with {key} = {value}, now it is {wanted[key]}",
                remedy="The job key must be a digest of all settings, so that it changes with them",
                code="job_key_reused",
            )


def _shown(per_site: pd.DataFrame | None, told: Told) -> tuple[dict[str, float], int]:
    if per_site is None:
        return {}, 0
    return shown_metrics(with_shipped(per_site, told.points), told.primary)


def _words(per_site: pd.DataFrame | None, told: Told, parent: str | None) -> dict[str, str]:
    """Tags in which a person reads: names of sites, the headline, the description."""
    texts = {} if parent is None else {ABOVE: parent}
    if per_site is None:
        return texts
    head = headline(per_site, told.primary)
    texts |= {HEADLINE: head, NOTE: description(head, list(told.findings), told.pages)}
    return texts | _site_tags(per_site)


def _site_tags(per_site: pd.DataFrame) -> dict[str, str]:
    names = site_slugs(per_site["site"].astype(str))
    return {f"site.{key}": name for name, key in names.items() if not name.startswith("_")}


@dataclass(frozen=True, kw_only=True)
class _About:
    """The model that metrics are of, and the images of each site by the slug of its name."""

    model: str | None = None
    parts: Mapping[str, DataPart] = field(default_factory=dict)

    def metric(self, key: str, value: float, moment: int) -> "Metric":
        from mlflow.entities import Metric

        split, _, rest = key.partition("/")
        part = self.parts.get(rest.rpartition("/")[0]) if split == "test" else None
        data = (None, None) if part is None else (part.name, part.digest)
        return Metric(key, value, moment, 0, self.model, *data)


def _parts_of_sites(per_site: pd.DataFrame | None, told: Told) -> dict[str, DataPart]:
    if per_site is None:
        return {}
    slugs = site_slugs(per_site["site"].astype(str))
    tested = (part for part in told.parts if part.context == "test" and part.site in slugs)
    return {slugs[part.site]: part for part in tested}


def _log_texts(
    client: "MlflowClient",
    run_id: str,
    tags: Mapping[str, str],
    params: Mapping[str, str],
    known: set[str],
) -> None:
    from mlflow.entities import Param, RunTag

    labels = [RunTag(key, str(value)[:_TAG_CHARACTERS]) for key, value in tags.items()]
    fresh = [Param(key, value) for key, value in params.items() if key not in known]
    for start in range(0, max(len(labels), len(fresh)), _PARAMS_A_BATCH):
        part = slice(start, start + _PARAMS_A_BATCH)
        client.log_batch(run_id, params=fresh[part], tags=labels[part])


def _log_metrics(
    client: "MlflowClient",
    run_id: str,
    epochs: list[tuple[int, dict[str, float]]],
    final: Mapping[str, float],
    moment: int,
    about: "_About",
) -> None:
    from mlflow.entities import Metric

    rows: list[Metric] = [about.metric(key, value, moment) for key, value in final.items()]
    rows += [
        Metric(key, value, moment, step)
        for step, values in epochs
        for key, value in values.items()
        if finite(value) is not None
    ]
    for start in range(0, len(rows), _METRICS_A_BATCH):
        client.log_batch(run_id, metrics=rows[start : start + _METRICS_A_BATCH])

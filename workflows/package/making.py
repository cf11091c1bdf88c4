"""From a finished run and its evaluation to a model package."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from offsite.errors import InputError
from offsite.evaluation.predictions.roles import roles_of
from offsite.evaluation.predictions.table import Predictions, load_predictions
from offsite.files import file_digest
from offsite.training.prediction.contract import WORDS
from offsite.training.run_folder import EXCLUDED, NOT_TRAINED_ON, OUT_OF_FOLD, RunFolder
from offsite.workflows.package.fitting import Groups, fit_reference, under
from offsite.workflows.package.folder import write_package
from offsite.workflows.package.folds import refit_limits
from offsite.workflows.package.heads import TRUNK, sums_of_run, training_sums
from offsite.workflows.package.joined import joined_limits, joined_sites
from offsite.workflows.package.results import site_results
from offsite.workflows.package.schema import (
    POOLED,
    Architecture,
    DecisionRules,
    ModelRecord,
    SiteCounts,
    WordsOfModel,
)
from offsite.workflows.package.trunk_distance import LEAST_ROWS, SCORES, reference_of

_INPUTS = ("predictions.parquet", "splits.parquet", "settings.json")


@dataclass(frozen=True, kw_only=True)
class RunWords:
    """The words that answers of a run are told in; by default none.

    Attributes
    ----------
    told : WordsOfModel or None
        What ``model.json`` says of them.
    arrays : dict of str to numpy.ndarray
        What tells them.
    missing : str
        Why there are none, where some were found.
    """

    told: WordsOfModel | None = None
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)
    missing: str = ""


@dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """What a package cannot read from the run's tables.

    Attributes
    ----------
    name, target : str
        What the model is called, and what its classes say.
    task : str
        What the model reads, as its modality says: ``slides`` or ``photographs``.
    architecture, architecture_settings
        Name in offsite's list, and plain JSON that rebuilds the network.
    preprocessing : dict
        ``tiles`` and ``encoder``, or ``fundus``: settings as JSON.
    mpp, field_of_view : float or None
        um per px of the tiles; degrees of a photograph.
    ordinal : bool
        Whether the classes are grades, from mild to severe.
    positive, urgent : tuple of str
        Classes that call for referral (none named: all but the first) and for urgent referral.
    sensitivity : float
        The sensitivity that the thresholds must reach, 0..1.
    words : RunWords
        Those that were found of the run.
    """

    name: str
    task: str
    target: str
    architecture: str
    architecture_settings: Mapping[str, Any] = field(default_factory=dict)
    preprocessing: Mapping[str, Any] = field(default_factory=dict)
    mpp: float | None = None
    field_of_view: float | None = None
    ordinal: bool = False
    positive: tuple[str, ...] = ()
    urgent: tuple[str, ...] = ()
    sensitivity: float = 0.9
    words: RunWords = field(default_factory=RunWords)


def package_run(
    run_folder: str | Path, evaluation_folder: str | Path | None, out: str | Path, facts: ModelFacts
) -> Path:
    """Write the package of a finished run; the same run gives the same bytes.

    Parameters
    ----------
    run_folder : path
        With ``weights.safetensors``, ``predictions.parquet``, ``embeddings.npy``, ``run.json``.
    evaluation_folder : path or None
        With ``per_site.csv``; without it the package says that nothing was measured.
    out : path
        The folder to make.
    facts : ModelFacts
        What the run's tables do not say.

    Raises
    ------
    InputError
        The run is not finished, or ``facts`` name a class that is not there.
    """
    from safetensors.torch import load_file

    run = Path(run_folder)
    record = RunFolder(run).record()
    if record is None or record["status"] != "done":
        raise InputError("not a finished run", file=run, remedy="Train it to the end first")
    predictions = load_predictions(run)
    positive = facts.positive or predictions.classes[1:]
    groups = Groups(
        positive=positive, urgent=facts.urgent, sensitivity=facts.sensitivity, ordinal=facts.ordinal
    )
    answers = _one_row_an_answer(_answerable(predictions, run), record)
    told = record.get("facts", {})
    folds = _of_folds(run, record)
    fitted = fit_reference(answers, groups, folds)
    if folds is not None:
        fitted.limits.extend(refit_limits(told["folds"]))
    table = predictions.table
    trained = table[(table["split"] == "train") & (table["site_role"] == "training")]
    results, unsaid = site_results(evaluation_folder)
    fitted.limits.extend(unsaid)
    joined = tuple(joined_sites(told))
    fitted.limits.extend(joined_limits(told))
    if told.get("rounds"):
        fitted.limits.append(
            "Its head was learnt in rounds and not fitted to sums: no hospital can join or leave it."
        )
    sums = sums_of_run(run, answers, told)
    scores = _trunk_scores(sums, answers, fitted.limits)
    if facts.words.missing:
        fitted.limits.append(facts.words.missing)
    model = ModelRecord(
        name=facts.name,
        task=facts.task,
        target=facts.target,
        classes=predictions.classes,
        ordinal=facts.ordinal,
        architecture=Architecture(
            name=facts.architecture, settings=dict(facts.architecture_settings)
        ),
        preprocessing={**facts.preprocessing, **of_bags(record)},
        mpp=facts.mpp,
        field_of_view=facts.field_of_view,
        decision=DecisionRules(positive=positive, urgent=facts.urgent),
        profiles=fitted.profiles,
        training_sites=tuple(sorted({*trained["site"], *(one.site for one in joined)})),
        patients=int(trained["patient"].nunique()) + sum(one.patients for one in joined),
        cohort=(*_cohort(predictions), *joined),
        results=results,
        limits=tuple(fitted.limits),
        words=facts.words.told,
        fingerprints={"run": record["key"], **_encoder(record), **_digests(run)},
        versions=dict(record.get("versions", {})),
    )
    weights = load_file(run / "weights.safetensors")
    words = under(WORDS, dict(facts.words.arrays))
    return write_package(out, model, weights, {**fitted.reference, **sums, **scores, **words})


def _of_folds(run: Path, record: Mapping[str, Any]) -> Predictions | None:
    """What the folds of a refit said of the patients that each tested; None where it is no refit."""
    if "folds" not in record.get("facts", {}) or not (run / OUT_OF_FOLD).is_dir():
        return None
    return _one_row_an_answer(_answerable(load_predictions(run / OUT_OF_FOLD), run), record)


def _trunk_scores(
    sums: Mapping[str, np.ndarray], predictions: Predictions, limits: list[str]
) -> dict[str, np.ndarray]:
    """The distances of validation rows by what the trunk sees of them, to read others' against.

    What keeps a model with a trunk from having them is added to the limits.
    """
    start = f"{TRUNK}/"
    kept = training_sums({k.removeprefix(start): v for k, v in sums.items() if k.startswith(start)})
    seen = predictions.embeddings if predictions.trunk is None else predictions.trunk
    if kept is None or kept.sites is None or seen is None:
        return {}
    unseen = seen[roles_of(predictions.table).calibrate]
    if len(unseen) < LEAST_ROWS:
        limits.append(
            "How unlike the training images a case is to the trunk cannot be said:"
            f" {len(unseen)} validation cases, fewer than {LEAST_ROWS}."
        )
    return under(f"{SCORES}/{POOLED}", reference_of(kept.sites, unseen))


def _answerable(predictions: Predictions, run: Path) -> Predictions:
    """Without the ungradable: they get no answer, so nothing of an answer is fitted on them."""
    file = run / EXCLUDED
    if not file.is_file():
        return predictions
    listed = pd.read_csv(file, dtype=str, keep_default_na=False)
    ungradable = listed.loc[listed["status"] == NOT_TRAINED_ON, "image"]
    return predictions.select(~predictions.table["image"].isin(ungradable).to_numpy())


def _one_row_an_answer(predictions: Predictions, record: Mapping[str, Any]) -> Predictions:
    """Where patients are answered, a row for each patient: its other slides are no further cases.

    Copies of an answer would pass for the positive cases that a threshold must have met, and for
    the calibration cases that a prediction set rests on.
    """
    if record.get("facts", {}).get("pooling", "slide") == "slide":
        return predictions
    return predictions.select(~predictions.table.duplicated(["site", "patient"]).to_numpy())


def _cohort(predictions: Predictions) -> tuple[SiteCounts, ...]:
    counts = []
    for site, rows in predictions.table.groupby("site"):
        roles = set(rows["site_role"]) & {"training", "held_out"}
        counts.append(
            SiteCounts(
                site=str(site),
                role="training" if "training" in roles else "held_out" if roles else "unknown",
                images=len(rows),
                patients=int(rows["patient"].nunique()),
                classes={str(k): int(v) for k, v in rows["label"].value_counts().items()},
            )
        )
    return tuple(counts)


def of_bags(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a run tells a package of how its model reads slides.

    What it answers for (``pooling``), its smallest training slide, and of features that another tool
    made what they are.
    """
    facts = record.get("facts", {})
    told = {name: facts[name] for name in ("pooling", "fewest_tiles") if facts.get(name)}
    features = facts.get("features", {})
    kept = {name: features[name] for name in ("encoder", "dimensions", "tiles") if name in features}
    return {**told, "features": kept} if kept else told


def _encoder(record: Mapping[str, Any]) -> dict[str, str]:
    digest = record.get("facts", {}).get("encoder_digest")
    return {"encoder": digest} if digest else {}


def _digests(run: Path) -> dict[str, str]:
    return {name: file_digest(run / name) for name in _INPUTS if (run / name).is_file()}

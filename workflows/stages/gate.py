"""From a registered candidate to the champion: the gate on the run that made it."""

from pathlib import Path

import pandas as pd

from offsite.errors import InputError
from offsite.evaluation.gate.judging import judge
from offsite.evaluation.gate.rules import load_rules
from offsite.evaluation.gate.verdict import GateVerdict
from offsite.evaluation.predictions.table import load_predictions
from offsite.evaluation.tables.comparison import paired_differences
from offsite.evaluation.tracking.champion import champion_of, promote
from offsite.evaluation.tracking.kept_predictions import kept_predictions
from offsite.workflows.jobs.names_key import names_key
from offsite.workflows.stages.evaluation import configuration_of, evaluate_run, judged_folder
from offsite.workflows.stages.registration import job_of


def pass_gate(
    folder: Path, name: str, version: str, uri: str, rules: Path, override: str = ""
) -> GateVerdict:
    """Judge a version by the evaluation of its run, keep the verdict, and promote it if allowed.

    The evaluation is brought up to date first: what is judged are the tables of these predictions
    under the run's present decision rules.

    Parameters
    ----------
    folder : path
        The candidate's run.
    name, version, uri : str
        Registered model, its version and the store.
    rules : path
        YAML, see docs/gate.md.
    override : str
        A written reason to promote in spite of a refusal.

    Raises
    ------
    InputError
        The rules cannot be used, the reason is no sentence, or the champion's test images are not
        the candidate's.
    """
    champion = champion_of(uri, name)
    differences = None if champion == version else _differences(folder, name, champion, uri)
    verdict = judge(
        evaluate_run(folder).folder,
        load_rules(rules),
        champion=champion,
        version=version,
        differences=differences,
    )
    if override and not verdict.passed:
        verdict = verdict.overridden(override)
    promote(uri, name, version, verdict)
    return verdict


def _differences(folder: Path, name: str, champion: str | None, uri: str) -> pd.DataFrame | None:
    """The candidate against the champion, or None where the champion's predictions are missing."""
    if champion is None:
        return None
    candidate = load_predictions(judged_folder(folder))
    key = names_key(job_of(folder).names_key_path, make=False)
    kept = kept_predictions(uri, name, champion, like=candidate, key=key)
    if kept is None:
        return None  # the rule of non-inferiority then refuses, and says what to do
    settings = configuration_of(folder).report_settings().metrics
    try:
        return paired_differences(kept, candidate, settings)
    except InputError as error:
        raise InputError(
            f"the candidate cannot be compared with champion version {champion}: {error.problem}",
            file=folder,
            remedy="Evaluate both on the same test images: same cohort, same splits",
        ) from error

"""From a registered candidate to the champion: the gate on the run that made it."""

from pathlib import Path

import pandas as pd

from evaluation.comparison import paired_differences
from evaluation.gate.judging import judge
from evaluation.gate.rules import load_rules
from evaluation.gate.verdict import Verdict
from evaluation.predictions import load_predictions
from evaluation.registry import find_version
from evaluation.registry_champion import champion_of, promote
from evaluation.tracking import client_of
from preprocessing.errors import InputError
from workflows.evaluation_stage import EVALUATION, configuration_of

RUN_FOLDER = "offsite.run_folder"


def pass_gate(
    folder: Path, name: str, version: str, uri: str, rules: Path, override: str = ""
) -> Verdict:
    """Judge a version by the evaluation of its run, keep the verdict, and promote it if allowed.

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
        folder / EVALUATION, load_rules(rules), champion=champion, version=version,
        differences=differences,
    )  # fmt: skip
    if override and not verdict.passed:
        verdict = verdict.overridden(override)
    promote(uri, name, version, verdict)
    return verdict


def _differences(folder: Path, name: str, champion: str | None, uri: str) -> pd.DataFrame | None:
    """The candidate against the champion, or None where the champion's run is out of reach."""
    if champion is None:
        return None
    tags = find_version(client_of(uri), f"models:/{name}/{champion}").tags
    run = Path(tags.get(RUN_FOLDER, ""))
    if not (run / "predictions.parquet").is_file():
        return None  # the rule of non-inferiority then refuses, and says what is missing
    settings = configuration_of(folder).report_settings().metrics
    try:
        return paired_differences(load_predictions(run), load_predictions(folder), settings)
    except InputError as error:
        raise InputError(
            f"the candidate cannot be compared with champion version {champion}: {error.problem}",
            file=run, remedy="Evaluate both on the same test images: same cohort, same splits",
        ) from error  # fmt: skip

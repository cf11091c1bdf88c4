"""The onboarding of a site from its cohort table to a new package (and version)."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from preprocessing.cohort import load_cohort
from preprocessing.errors import InputError
from preprocessing.files import write_json
from workflows.onboarding import cases_of, onboard, report_path
from workflows.package.folder import Package, write_package
from workflows.predict import running
from workflows.predict.batch import BatchOptions, run_batch
from workflows.predict.inputs import Inputs

PREDICTIONS, PACKAGE = "predictions", "package"


@dataclass(frozen=True)
class Calibrated:
    """What came of an onboarding.

    Attributes
    ----------
    report : dict
        As in ``onboarding.json``.
    package : Path or None
        The new package; None from unlabelled cases.
    version : str
        Its address in the registry, where it was registered.
    """

    report: dict[str, Any]
    package: Path | None
    version: str = ""


def calibrate(
    cohort: Path, model: str, site: str, output: Path, *, tracking_uri: str | None = None,
    register: bool = False, device: str = "auto", workers: int = 1,
) -> Calibrated:  # fmt: skip
    """Predict the local cases, check the model on them, and write the package for the site.

    Raises
    ------
    InputError
        The table has no case of the site, or too few labelled ones.
    """
    with running.opened_model(model, tracking_uri) as package:
        chosen = running.device_named(device)
        predictor = running.predictor_for(package, chosen)
        table = load_cohort(cohort, package.record.classes).table
        here = (table["site"] == site).to_numpy()
        if not here.any():
            raise InputError(
                f"no case of site '{site}'", file=cohort, column="site",
                remedy=f"The table has {', '.join(sorted(table['site'].unique())[:8])}",
            )  # fmt: skip
        inputs = running.inputs_for(package, [cohort], "", output)
        items = tuple(item for item, own in zip(inputs.items, here, strict=True) if own)
        options = BatchOptions(output=output / PREDICTIONS, workers=workers)
        outcome = run_batch(package, predictor, Inputs(items), options, chosen)
        cases = cases_of(
            list(outcome.records()), list(table["label"][here]), package.record.classes
        )
        done = onboard(package, cases, site)
        write_json(report_path(output), done.report)
        if done.record is None:
            return Calibrated(done.report, None)
        made = write_package(output / PACKAGE, done.record, package.weights, done.reference)
        version = _register(made, package, model, tracking_uri, site) if register else ""
        return Calibrated(done.report, made, version)


def _register(made: Path, package: Package, model: str, tracking_uri: str | None, site: str) -> str:
    from evaluation.registry import find_version, register_package
    from evaluation.tracking import client_of

    if not model.startswith("models:/") or tracking_uri is None:
        raise InputError(
            "only a registered model has versions",
            remedy="Give --model models:/name@champion and --tracking-uri",
        )
    known = find_version(client_of(tracking_uri), model)
    tags = {"offsite.onboarded": site, "offsite.onboarded_from": package.digest}
    version = register_package(tracking_uri, known.name, made, str(known.run_id), tags)
    return f"models:/{known.name}/{version}"

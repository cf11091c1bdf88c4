"""A site, from its cohort table to a new package (and version)."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from offsite.errors import InputError
from offsite.locks import writing
from offsite.preprocessing.cohort.table import Cohort, load_cohort
from offsite.training.prediction.contract import Predictor
from offsite.training.prediction.items import Item
from offsite.workflows.package.folder import Package, write_package
from offsite.workflows.predict import running
from offsite.workflows.predict.batch import INTERRUPTED, BatchOptions, run_batch
from offsite.workflows.predict.inputs.listing import Inputs
from offsite.workflows.predict.inputs.worklist import files_of, folder_not_named
from offsite.workflows.site.calibration import calibrate_site, report_path
from offsite.workflows.site.cases import (
    LocalCases,
    cases_of,
    check_enough_labels,
    check_site_name,
)
from offsite.workflows.site.refitting import WithEmbedding, check_can_refit
from offsite.workflows.site.registry import register_site_version
from offsite.written import check_own, write_own_json

PREDICTIONS, PACKAGE = "predictions", "package"


@dataclass(frozen=True)
class Calibrated:
    """What came of the local cases.

    Attributes
    ----------
    report : dict
        As in ``site.json``.
    package : Path or None
        The new package; None from unlabelled cases.
    version : str
        Its address in the registry, where it was registered.
    """

    report: dict[str, Any]
    package: Path | None
    version: str = ""


def calibrate(
    cohort: Path,
    model: str,
    site: str,
    output: Path,
    *,
    tracking_uri: str | None = None,
    register: bool = False,
    refit: bool = False,
    device: str = "auto",
    workers: int = 1,
    keys: Sequence[Path] | None = None,
    features: Path | None = None,
) -> Calibrated:
    """Predict the local cases, check the model on them, and write the package for the site.

    What can be refused is refused before anything is predicted. With ``refit`` the head is fitted
    again with the labelled cases, and used at the site if they show that it helps. ``features`` is the
    folder of the table's cases, where the model reads features of another tool.

    Raises
    ------
    InputError
        The table has no case of the site, or too few labelled ones; or a package that is in no
        registry is to be registered.
    KeyboardInterrupt
        The prediction was interrupted: nothing is fitted on a part of the cases.
    """
    check_site_name(site)
    store = _store_of(model, tracking_uri) if register else None
    with running.opened_model(model, tracking_uri, keys) as package, ExitStack() as held:
        if refit:
            check_can_refit(package)
        where = running.device_named(device)
        listed = listed_cases(package, cohort, site, output, features)
        held.enter_context(writing(output))  # what is refused leaves no folder
        check_own(report_path(output))
        predictor = running.predictor_for(package, where)
        if refit:
            predictor = WithEmbedding(predictor)
        cases = predicted_cases(package, predictor, *listed, output, where, workers)
        done = calibrate_site(package, cases, site, refit=refit)
        write_own_json(report_path(output), done.report)
        if done.record is None:
            return Calibrated(done.report, None)
        made = write_package(output / PACKAGE, done.record, package.weights, done.reference)
        if store is None:
            return Calibrated(done.report, made)
        version = register_site_version(store, model, package.record.version, made, site)
        return Calibrated(done.report, made, version)


def listed_cases(
    package: Package, cohort: Path, site: str, output: Path, features: Path | None = None
) -> tuple[tuple[Item, ...], list[str]]:
    """Return the site's cases of a table, and their labels, blank where there is none.

    Raises
    ------
    InputError
        The table has no case of the site, or too few labelled ones.
    """
    given, paths = local_cohort(package, cohort, features)
    rows = zip(paths, given.table["patient"], given.table["label"], strict=True)
    known = {(path, patient): label for path, patient, label in rows}
    inputs = running.inputs_for(package, [cohort], "", output, features)
    items = tuple(item for item in inputs.items if item.site == site)
    if not items:
        raise InputError(
            f"no case of site '{site}'",
            file=cohort,
            column="site",
            remedy=f"The table has {', '.join(given.sites[:8])}",
        )
    labels = [known[item.path, item.patient] for item in items]
    check_enough_labels(sum(label != "" for label in labels), site)
    return items, labels


def local_cohort(
    package: Package, cohort: Path, features: Path | None
) -> tuple[Cohort, list[Path]]:
    """Return a table of local cases, and the file of each: its image, or its features.

    Raises
    ------
    InputError
        The table is faulty, or names a file that is not there.
    """
    choice = running.choice_for(package, features)
    if choice is None or features is None:
        given = load_cohort(
            cohort, package.record.classes, images_named=True if choice is None else None
        )
        if not given.names_images:
            raise folder_not_named(cohort)
        return given, given.image_paths()
    given = load_cohort(cohort, package.record.classes, images_named=False)
    return given, files_of(given.table, choice, features)


def predicted_cases(
    package: Package,
    predictor: Predictor,
    items: tuple[Item, ...],
    labels: list[str],
    output: Path,
    device: str,
    workers: int,
) -> LocalCases:
    """Return the cases, all of them predicted.

    Raises
    ------
    KeyboardInterrupt
        The prediction was interrupted.
    """
    options = BatchOptions(output=output / PREDICTIONS, workers=workers)
    outcome = run_batch(package, predictor, Inputs(items), options, device)
    if outcome.exit_code == INTERRUPTED:
        raise KeyboardInterrupt
    of_patients = package.record.preprocessing.get("pooling", "slide") != "slide"
    records = list(outcome.records())
    return cases_of(records, labels, package.record.classes, of_patients=of_patients)


def _store_of(model: str, tracking_uri: str | None) -> str:
    """The registry that the new version goes to."""
    if not model.startswith(running.REGISTERED):
        raise InputError(
            "only a registered model has versions, and this is the folder of a package",
            remedy="Give --model models:/name@champion, or leave --register out",
            code="not_registered",
        )
    return running.tracking_store(tracking_uri)

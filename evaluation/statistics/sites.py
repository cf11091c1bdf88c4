"""The test rows of each site with their draws: what every per-site table starts from."""

from dataclasses import dataclass

import numpy as np

from offsite.evaluation.predictions.roles import HELD_OUT, TRAINING, Roles, roles_of
from offsite.evaluation.predictions.table import Predictions
from offsite.evaluation.predictions.tasks import Task, tasks_of
from offsite.evaluation.settings import EvaluationSettings
from offsite.evaluation.statistics.measured import Request
from offsite.evaluation.statistics.resampling import generator_of, sample_counts, with_point
from offsite.evaluation.statistics.samples import Sample, joined, sample_of

ALL = "all"
POOLED, WORST, GAP = "_pooled", "_worst", "_gap"


@dataclass(frozen=True, kw_only=True, eq=False)
class Site:
    """One site's test rows.

    Attributes
    ----------
    name, role : str
        Site, and ``training`` or ``held_out``.
    images : int
        Test images, labelled or not.
    sample : Sample
        The labelled ones.
    counts : numpy.ndarray
        uint8, (1 + resamples) x units: a row of ones, then the draws.
    """

    name: str
    role: str
    images: int
    sample: Sample
    counts: np.ndarray


def sites_of(
    predictions: Predictions, settings: EvaluationSettings, resamples: int | None = None
) -> list[Site]:
    """Every site with a test image, training sites first; the draws depend on the seed and the site alone.

    ``resamples`` overrides the number of draws of the settings.
    """
    draws = settings.resamples if resamples is None else resamples
    roles = roles_of(predictions.table)
    names = predictions.table["site"].to_numpy(dtype=str)
    sites = []
    for name, role in roles.test_sites(names):
        rows = roles.test & (names == name) & (roles.site_role == role)
        at_site = predictions.select(rows)
        sample = sample_of(at_site, settings.unit)
        generator = generator_of(settings.seed, "site", name)
        counts = sample_counts(sample, draws, generator, stratified=settings.stratified)
        sites.append(
            Site(
                name=name,
                role=role,
                images=len(at_site),
                sample=sample,
                counts=with_point(counts),
            )
        )
    return sites


def groups_of(sites: list[Site]) -> list[tuple[str, list[Site]]]:
    """Sites by role (roles without a site are left out), and all of them last."""
    parts = [(role, [site for site in sites if site.role == role]) for role in (TRAINING, HELD_OUT)]
    return [(role, members) for role, members in parts if members] + [(ALL, sites)]


def pooled(role: str, sites: list[Site]) -> Site:
    """The rows of several sites as one, drawn within sites."""
    return Site(
        name=POOLED,
        role=role,
        images=sum(site.images for site in sites),
        sample=joined([site.sample for site in sites]),
        counts=np.hstack([site.counts for site in sites]),
    )


def request_of(predictions: Predictions, settings: EvaluationSettings) -> Request:
    """What the settings ask to be measured, with each task's reference prevalence."""
    tasks = tasks_of(predictions.classes, settings)
    return Request(
        classes=predictions.classes,
        tasks=tasks,
        references=reference_prevalences(predictions, tasks),
        minimum_of_class=settings.minimum_of_class,
    )


def reference_prevalences(predictions: Predictions, tasks: list[Task]) -> dict[str, float]:
    """Prevalence at which sites are compared: stated, or that of validation, or of test rows.

    A task without any positive or any negative row has none.
    """
    roles = roles_of(predictions.table)
    return {
        task.name: prevalence
        for task in tasks
        if (prevalence := _reference(predictions.labels, roles, task)) is not None
    }


def _reference(labels: np.ndarray, roles: Roles, task: Task) -> float | None:
    if task.settings.reference_prevalence is not None:
        return task.settings.reference_prevalence
    for rows in (roles.calibrate, roles.test):
        known = labels[rows & (labels >= 0)]
        if len(known) and 0 < (share := float(task.members[known].mean())) < 1:
            return share
    return None

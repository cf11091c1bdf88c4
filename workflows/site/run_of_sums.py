"""A finished run whose head was fitted to sums by site."""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from offsite.errors import InputError
from offsite.files import read_json
from offsite.locks import writing
from offsite.training.heads.site_sums import SiteSums
from offsite.training.run_folder import SUMS
from offsite.workflows.package.making import of_bags
from offsite.workflows.site.fingerprints import fingerprints
from offsite.workflows.stages.evaluation import configuration_of, finished_run
from offsite.workflows.stages.registration import model_facts

WEIGHTS = "weights.safetensors"


@dataclass(frozen=True, eq=False)
class RunOfSums:
    """A finished run whose head was fitted to sums.

    Attributes
    ----------
    folder : Path
    record : mapping
        Content of ``run.json``.
    sums : SiteSums
    share : float
        Exponent by which sites of many rows weigh less.
    copies : numpy.ndarray
        How many altered copies are behind each row.
    """

    folder: Path
    record: Mapping[str, Any]
    sums: SiteSums
    share: float
    copies: np.ndarray

    @property
    def facts(self) -> Mapping[str, Any]:
        """What the run tells of itself."""
        facts: Mapping[str, Any] = self.record["facts"]
        return facts


def opened(run: Path, held: ExitStack) -> RunOfSums:
    """Return a run, which nobody writes until the stack is left.

    Raises
    ------
    InputError
        Code ``no_linear_head``, or it is no finished run.
    """
    from safetensors.numpy import load_file

    finished_run(run)
    held.enter_context(writing(run))
    record = finished_run(run)
    kept = load_file(run / SUMS) if (run / SUMS).is_file() else {}
    if "site_weights" not in kept or record["facts"].get("rounds"):
        raise InputError(
            "the head of this run was not fitted to sums",
            file=run,
            remedy="Train with method linear, without linear.rich: no other head can be joined"
            " without images",
            code="no_linear_head",
        )
    sums = SiteSums.from_arrays(kept, record["facts"]["sites_of_sums"])
    share = float(read_json(run / "settings.json")["linear"]["site_share"])
    return RunOfSums(run, record, sums, share, kept.get("copies", np.array([0])))


def fingerprints_of(run: RunOfSums) -> dict[str, str]:
    """Return what the run's sums hang on, see `offsite.workflows.site.fingerprints`."""
    from safetensors.torch import load_file

    facts = model_facts(configuration_of(run.folder), run.facts["architecture"])
    weights = load_file(run.folder / WEIGHTS)
    preprocessing = {**facts.preprocessing, **of_bags(run.record)}
    return fingerprints(weights, preprocessing, run.facts.get("encoder_digest") or "")

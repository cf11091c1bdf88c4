"""The runs of an experiment: methods x divisions of the cohort x seeds."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from offsite.errors import InputError

Protocol = Literal["leave_one_site_out", "single_source"]


@dataclass(frozen=True)
class Cell:
    """One run: a method, the sites that take no part in training or selection, a seed."""

    method: str
    held_out: tuple[str, ...]
    seed: int

    @property
    def division(self) -> str:
        """The division of the cohort, as in ``without-east``."""
        sites = "+".join(_safe(site) for site in self.held_out)
        return f"without-{sites}" if sites else "all-sites"

    @property
    def name(self) -> str:
        """The run's path below the folder of runs, as in ``sc_mil/without-east/seed-0``."""
        return f"{_safe(self.method)}/{self.division}/seed-{self.seed}"

    def options(self) -> str:
        """The options of ``offsite train`` that name this run, quoted for a shell."""
        words = ["--method", self.method, "--seed", str(self.seed)]
        for site in self.held_out:
            words += ["--held-out", site]
        return shlex.join(words)


def _safe(name: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in name)


def divisions_of(protocol: Protocol, sites: Sequence[str]) -> list[tuple[str, ...]]:
    """Return the sites held out in each division: each in turn, or all but each in turn.

    Raises
    ------
    InputError
        Code ``one_site``: there is nothing to leave out.

    Examples
    --------
    >>> divisions_of('leave_one_site_out', ['north', 'south', 'west'])
    [('north',), ('south',), ('west',)]
    >>> divisions_of('single_source', ['north', 'south', 'west'])
    [('south', 'west'), ('north', 'west'), ('north', 'south')]
    """
    if len(sites) < 2:
        raise InputError(
            f"protocol {protocol} with one site",
            code="one_site",
            remedy="It needs at least two sites in the cohort",
        )
    if protocol == "leave_one_site_out":
        return [(site,) for site in sites]
    return [tuple(other for other in sites if other != site) for site in sites]


def experiment_cells(
    methods: Sequence[str], divisions: Sequence[tuple[str, ...]], seeds: Sequence[int]
) -> list[Cell]:
    """Return every run, seeds outermost and methods innermost.

    In this order an experiment that is stopped early has compared like with like.

    Examples
    --------
    >>> for cell in experiment_cells(['erm', 'deco'], [('west',)], [0, 1]):
    ...     print(cell.name)
    erm/without-west/seed-0
    deco/without-west/seed-0
    erm/without-west/seed-1
    deco/without-west/seed-1
    """
    return [
        Cell(method, held_out, seed)
        for seed in seeds
        for held_out in divisions
        for method in methods
    ]

"""The runs of an experiment: methods x divisions of the cohort x seeds."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

from offsite.errors import InputError

Protocol = Literal["leave_one_site_out", "single_source"]
REFIT = "refit"


@dataclass(frozen=True)
class Fold:
    """A run of a cross-validation: one of its folds, or the refit on all patients that ships.

    Attributes
    ----------
    of : int
        How many folds.
    number : int
        Which, from 1; 0 is the refit.
    repeat : int
        Which division into folds, from 1; the refit is of all of them.
    """

    of: int
    number: int = 0
    repeat: int = 1

    @property
    def is_refit(self) -> bool:
        """Whether it is the refit on all patients."""
        return self.number == 0

    @property
    def name(self) -> str:
        """The last part of the run's path.

        Examples
        --------
        >>> Fold(5, 2).name, Fold(5, 2, repeat=3).name, Fold(5).name
        ('fold-2', 'fold-2-repeat-3', 'refit')
        """
        if self.is_refit:
            return REFIT
        return f"fold-{self.number}" + (f"-repeat-{self.repeat}" if self.repeat > 1 else "")


@dataclass(frozen=True)
class Cell:
    """One run: a method, the sites that take no part in training or selection, a seed, a fold."""

    method: str
    held_out: tuple[str, ...]
    seed: int
    fold: Fold | None = None

    @property
    def division(self) -> str:
        """The division of the cohort, as in ``without-east`` or ``5-folds-without-east``."""
        sites = "+".join(_safe(site) for site in self.held_out)
        folds = f"{self.fold.of}-folds" if self.fold else ""
        parts = [folds, f"without-{sites}" if sites else ""]
        return "-".join(part for part in parts if part) or "all-sites"

    @property
    def name(self) -> str:
        """The run's path below the folder of runs, as in ``sc_mil/without-east/seed-0``.

        Examples
        --------
        >>> Cell("sc_mil", ("east",), 0, Fold(5, 2)).name
        'sc_mil/5-folds-without-east/seed-0/fold-2'
        """
        run = f"{_safe(self.method)}/{self.division}/seed-{self.seed}"
        return f"{run}/{self.fold.name}" if self.fold else run

    @property
    def ships(self) -> bool:
        """Whether it has a report and can be registered: all but the folds, which the refit joins."""
        return self.fold is None or self.joins

    @property
    def joins(self) -> bool:
        """Whether it is a refit, which is judged by what its folds say of unseen patients."""
        return self.fold is not None and self.fold.is_refit

    def options(self) -> str:
        """The options of ``offsite train`` that name this run, quoted for a shell."""
        words = ["--method", self.method, "--seed", str(self.seed)]
        for site in self.held_out:
            words += ["--held-out", site]
        if self.fold:
            words += ["--fold", self.fold.name.removeprefix("fold-")]
        return shlex.join(words)

    def record(self) -> dict[str, Any]:
        """Return what says which run it is, JSON-able; `of_record` reads it."""
        fold = {"fold": asdict(self.fold)} if self.fold else {}
        plain = {"method": self.method, "held_out": list(self.held_out), "seed": self.seed}
        return {**plain, **fold, "name": self.name}

    @classmethod
    def of_record(cls, record: Mapping[str, Any]) -> Self:
        """Return the run of a record."""
        fold = Fold(**record["fold"]) if record.get("fold") else None
        return cls(record["method"], tuple(record["held_out"]), record["seed"], fold)


def fold_named(text: str, folds: int) -> Fold:
    """Return the fold of a name, without its ``fold-``.

    Raises
    ------
    InputError
        Code ``unknown_fold``.

    Examples
    --------
    >>> fold_named("2", 5) == Fold(5, 2), fold_named("2-repeat-3", 5) == Fold(5, 2, 3)
    (True, True)
    >>> fold_named("refit", 5).is_refit
    True
    """
    number, _, repeat = text.partition("-repeat-")
    if text == REFIT:
        return Fold(folds)
    if number.isdigit() and 1 <= int(number) <= folds and (repeat.isdigit() or number == text):
        return Fold(folds, int(number), int(repeat or 1))
    raise InputError(
        f"'{text}' is no fold of {folds}",
        code="unknown_fold",
        remedy=f"Name 1 to {folds}, 1-repeat-2 of a second division, or {REFIT}",
    )


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
    methods: Sequence[str],
    divisions: Sequence[tuple[str, ...]],
    seeds: Sequence[int],
    folds: Sequence[Fold | None] = (None,),
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
        Cell(method, held_out, seed, fold)
        for seed in seeds
        for held_out in divisions
        for fold in folds
        for method in methods
    ]


def folds_of(folds: int, repeats: int = 1) -> list[Fold]:
    """Return the folds of a cross-validation, division by division, and the refit last.

    Examples
    --------
    >>> [fold.name for fold in folds_of(2, 2)]
    ['fold-1', 'fold-2', 'fold-1-repeat-2', 'fold-2-repeat-2', 'refit']
    """
    every = [
        Fold(folds, number + 1, repeat + 1) for repeat in range(repeats) for number in range(folds)
    ]
    return [*every, Fold(folds)]

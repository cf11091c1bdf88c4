"""A job: a configuration, the folder it lives in, and where each of its results goes."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from preprocessing.cohort import Cohort, load_cohort
from preprocessing.errors import InputError
from workflows.configurations import Configuration, load_configuration


@dataclass(frozen=True)
class Cell:
    """One run of a job: a method, the sites held out, a seed."""

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
        """The run's path below ``runs``, as in ``sc_mil/without-east/seed-0``."""
        return f"{_safe(self.method)}/{self.division}/seed-{self.seed}"

    def options(self) -> str:
        """The options of ``offsite train`` that name this run, quoted for a shell."""
        words = ["--method", self.method, "--seed", str(self.seed)]
        for site in self.held_out:
            words += ["--held-out", site]
        return shlex.join(words)


def _safe(name: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in name)


@dataclass(frozen=True)
class Job:
    """A configuration and its place on disk.

    Attributes
    ----------
    configuration : Configuration
        The validated settings.
    file : Path
        The YAML file; relative paths in it start from its folder.
    """

    configuration: Configuration
    file: Path

    @classmethod
    def load(cls, file: str | Path, overrides: Sequence[str] = ()) -> "Job":
        """Read a job from its YAML file; see :func:`workflows.yaml_settings.load_settings`."""
        return cls(load_configuration(file, overrides), Path(file).absolute())

    @property
    def output(self) -> Path:
        """Folder of all results."""
        return self.file.parent / self.configuration.output

    @property
    def tiles(self) -> Path:
        """Folder of tile tables."""
        return self.output / "tiles"

    @property
    def features(self) -> Path:
        """Folder of tile features."""
        return self.output / "features"

    @property
    def prepared(self) -> Path:
        """Folder of prepared photographs."""
        return self.output / "prepared"

    @property
    def tracking_uri(self) -> str:
        """The MLflow store, absolute."""
        uri = self.configuration.tracking.uri
        return uri if uri else f"sqlite:///{self.output / 'mlflow.db'}"

    @property
    def cohort_path(self) -> Path:
        """The cohort table."""
        return self.file.parent / self.configuration.cohort

    @cached_property
    def cohort(self) -> Cohort:
        """The validated cohort."""
        return load_cohort(self.cohort_path, self.configuration.classes)

    def cell(
        self, method: str | None = None, held_out: Sequence[str] | None = None,
        seed: int | None = None,
    ) -> Cell:  # fmt: skip
        """Return one run; what is not named is the configuration's first."""
        first = self.cells()[0]
        return Cell(
            method=method or first.method,
            held_out=first.held_out if held_out is None else tuple(held_out),
            seed=first.seed if seed is None else seed,
        )

    def cells(self) -> list[Cell]:
        """Return every run of the job: seeds x held-out sites x methods, methods innermost.

        In this order a job that is stopped early has the same number of runs for each method.
        """
        wanted = self.configuration.cells
        methods = wanted.methods or (self.configuration.training.method,)
        return [
            Cell(method, sites, seed)
            for seed in wanted.seeds
            for sites in self._divisions()
            for method in methods
        ]

    def _divisions(self) -> list[tuple[str, ...]]:
        """The sites held out in each division of the cohort."""
        protocol, sites = self.configuration.cells.protocol, self.cohort.sites
        if protocol == "as_given":
            return [self.configuration.splits.held_out_sites]
        if len(sites) < 2:
            raise InputError(
                f"protocol {protocol} with one site", file=self.file,
                remedy="It needs at least two sites in the cohort",
            )  # fmt: skip
        if protocol == "leave_one_site_out":
            return [(site,) for site in sites]
        return [tuple(other for other in sites if other != site) for site in sites]

    def run_folder(self, cell: Cell) -> Path:
        """Return where a run lives."""
        return self.output / "runs" / cell.name

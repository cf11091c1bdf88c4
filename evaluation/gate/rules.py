"""The rules that a candidate must meet at every site before it may become the champion."""

from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

import pydantic
from pydantic import Field

from offsite.errors import InputError
from offsite.files import check_plain
from offsite.settings import Settings
from offsite.yaml_files import parse_yaml

_LARGEST = 1 << 20


class Rule(Settings):
    """What every rule has: the sites it is about."""

    sites: Literal["all", "held_out", "training"] = Field(
        default="all", description="Sites that must meet the rule, by role"
    )

    @property
    def floor(self) -> float | None:
        """What the estimate of each site keeps while the sites are judged together; ``None``: they are not."""
        return getattr(self, "each_site", None)


class MinimumN(Rule):
    """Enough patients at every site and together, and enough sites, for a verdict at all."""

    rule: Literal["minimum_n"] = "minimum_n"
    patients: int = Field(default=30, ge=1, description="Fewest labelled patients at each site")
    number_of_sites: int = Field(default=1, ge=1, description="Fewest sites of the chosen roles")
    together: int = Field(default=1, ge=1, description="Fewest labelled patients of these sites")


class Limit(Rule):
    """A metric and what it must reach.

    Sensitivity, specificity and predictive values of a task are judged at the threshold chosen by
    the rule of model packages, :data:`offsite.evaluation.operating_points.choosing.PACKAGED`.
    """

    metric: str = Field(description="Metric of per_site.csv, such as referable/sensitivity")
    at_least: float | None = Field(
        default=None, description="Least value of the lower bound, where more is better"
    )
    at_most: float | None = Field(
        default=None, description="Greatest value of the upper bound, where less is better"
    )
    bound: Literal["interval", "value"] = Field(
        default="interval", description="Judge the interval's careful end, or the estimate itself"
    )

    @pydantic.model_validator(mode="after")
    def _one_limit(self) -> Self:
        if (self.at_least is None) == (self.at_most is None):
            raise ValueError("give at_least or at_most, and not both")
        return self

    @property
    def limit(self) -> float:
        """The one that is given."""
        limit = self.at_least if self.at_least is not None else self.at_most
        assert limit is not None
        return limit


class WorstSite(Limit):
    """A metric reaches a value at the worst site, by its interval's careful end."""

    rule: Literal["worst_site"] = "worst_site"


class Pooled(Limit):
    """A metric reaches a value over all sites together, and no single site is far from it."""

    rule: Literal["pooled"] = "pooled"
    each_site: float = Field(
        description="The same limit for the estimate at every single site, so that none is hidden"
    )

    @pydantic.model_validator(mode="after")
    def _no_stricter(self) -> Self:
        stricter = self.each_site > self.limit
        if stricter if self.at_least is not None else self.each_site < self.limit:
            raise ValueError("each_site is stricter than the limit of all; use worst_site")
        return self


class Together(Rule):
    """A rule that judges every site by itself, or all together with a limit for each."""

    each_site: float | None = Field(
        default=None,
        gt=0,
        description="Set: all sites are judged together, and the estimate at every single site keeps "
        "this limit, which is wider; unset: each site meets the rule by itself",
    )
    limit_of_all: ClassVar[str]
    """The field that holds the limit of all sites together."""

    @pydantic.model_validator(mode="after")
    def _wider(self) -> Self:
        if self.each_site is not None and self.each_site < getattr(self, self.limit_of_all):
            raise ValueError("each_site is stricter than the limit of all; leave it out")
        return self


class Calibration(Together):
    """Probabilities come true: the error beyond noise is small, and the slope is near 1."""

    limit_of_all: ClassVar[str] = "excess_at_most"
    rule: Literal["calibration"] = "calibration"
    task: str = Field(description="Task of calibration.csv, or _top for the most probable class")
    calibrator: str = Field(
        default="none", description="Calibrator of calibration.csv that will be in use"
    )
    excess_at_most: float = Field(
        default=0.05, ge=0, description="Calibration error beyond what noise gives (0..1)"
    )
    slope_at_least: float | None = Field(
        default=None, gt=0, description="Least calibration slope; 1 is perfect"
    )


class ThresholdTransfer(Together):
    """The threshold chosen on training sites still finds what it promised.

    It is chosen by the rule of model packages, :data:`offsite.evaluation.operating_points.choosing.PACKAGED`.
    """

    limit_of_all: ClassVar[str] = "gap_at_most"
    rule: Literal["threshold_transfer"] = "threshold_transfer"
    task: str = Field(description="Task of operating_points.csv")
    gap_at_most: float = Field(
        default=0.05, ge=0, lt=1, description="Greatest upper bound of target minus sensitivity"
    )


class NonInferiority(Together):
    """Not worse than the champion by more than a margin, on the same cases."""

    limit_of_all: ClassVar[str] = "margin"
    rule: Literal["non_inferiority"] = "non_inferiority"
    metric: str = Field(description="Metric of differences.csv")
    margin: float = Field(
        gt=0, description="Greatest loss that the paired interval may reach, in the metric's unit"
    )


AnyRule = Annotated[
    MinimumN | WorstSite | Pooled | Calibration | ThresholdTransfer | NonInferiority,
    Field(discriminator="rule"),
]


class GateSettings(Settings):
    """The gate of one registered model."""

    rules: tuple[AnyRule, ...] = Field(min_length=1, description="All must be met")
    left_out: dict[str, str] = Field(
        default_factory=dict,
        description="Sites that are not judged, each with the reason; printed in every verdict",
    )

    @pydantic.field_validator("left_out")
    @classmethod
    def _reasons(cls, value: dict[str, str]) -> dict[str, str]:
        for site, why in value.items():
            if len(why.strip()) < 10:
                raise ValueError(f"say why site '{site}' is left out, in a sentence")
        return value


def load_rules(path: str | Path) -> GateSettings:
    """Read the rules of a gate from YAML.

    Raises
    ------
    InputError
        The file cannot be read, or a rule is unknown or incomplete; every fault is named.
    """
    file = Path(path)
    remedy = "docs/gate.md shows a file with every rule"
    try:
        check_plain(file)  # a pipe or device would be read for ever
        if file.stat().st_size > _LARGEST:
            raise InputError("too large for a rules file", file=file, remedy=remedy)
        content = parse_yaml(file.read_text(encoding="utf-8"), file)
    except InputError:
        raise
    except (OSError, ValueError) as error:  # also text that is not UTF-8, and names of no file
        raise InputError(f"cannot be read as YAML ({error})", file=file, remedy=remedy) from error
    try:
        return GateSettings.model_validate(content)
    except pydantic.ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(str(part) for part in fault['loc']) or 'file'}: {fault['msg']}"
            for fault in error.errors()
        )
        raise InputError(faults, file=file, remedy=remedy, code="gate_rules") from error

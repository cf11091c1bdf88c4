"""Everything that decides what stands in an evaluation folder."""

from typing import Literal, Self, get_args

from pydantic import Field, model_validator

from offsite.evaluation.ood.settings import OodSettings
from offsite.evaluation.predictions.table import PROBABILITY_PREFIX
from offsite.evaluation.settings import (
    ConformalSettings,
    EvaluationSettings,
    SelectiveSettings,
    ShiftSettings,
)
from offsite.settings import Settings

Part = Literal[
    "next_hospital",
    "operating_points",
    "net_benefit",
    "calibration",
    "embeddings",
    "ood",
    "shift",
    "conformal",
    "selective",
]


PARTS: tuple[Part, ...] = get_args(Part)


class ReportSettings(Settings):
    """Everything that decides what stands in an evaluation folder."""

    title: str = Field(default="Evaluation", description="Title of the report")
    primary_metric: str | None = Field(
        default=None, description="Metric that the summary is about; unset: the usual one"
    )
    limits: tuple[str, ...] = Field(
        default=(), description="Known limits to print in the report, a sentence each"
    )
    parts: tuple[Part, ...] = Field(
        default=PARTS, description="What to measure beside the per-site table"
    )
    by: tuple[str, ...] = Field(
        default=(),
        description="Columns of the cohort (of a table: its own) whose groups of patients are measured "
        "by themselves at each site, such as sex, age_band, scanner, eye, year; predictions keep these "
        "and no other",
    )
    metrics: EvaluationSettings = Field(
        default_factory=EvaluationSettings, description="The per-site tables"
    )
    ood: OodSettings = Field(default_factory=OodSettings, description="Detection of foreign images")
    shift: ShiftSettings = Field(default_factory=ShiftSettings, description="Shift between sites")
    conformal: ConformalSettings = Field(
        default_factory=ConformalSettings, description="Prediction sets"
    )
    selective: SelectiveSettings = Field(
        default_factory=SelectiveSettings, description="Selective prediction"
    )

    @model_validator(mode="after")
    def _by_columns(self) -> Self:
        if len(set(self.by)) < len(self.by):
            raise ValueError("by names a column twice")
        if named := [name for name in self.by if name.startswith(PROBABILITY_PREFIX)]:
            raise ValueError(f"by names {named[0]}: predictions read that as a class's probability")
        return self


class TableSettings(ReportSettings):
    """An evaluation of predictions that others made: also how their table is to be read."""

    columns: dict[str, str | None] = Field(
        default_factory=dict,
        description="The table's name of a column by offsite's: site, patient, label, image, split, "
        "prob_CLASS, or score (of two classes, the probability of the second); patient: null says "
        "that every row is of another patient",
    )
    classes: tuple[str, ...] | None = Field(
        default=None,
        description="Class names in order, the negative or mildest first; unset: those of the "
        "prob_CLASS columns, in no order",
    )

    def report(self, notes: tuple[str, ...] = ()) -> ReportSettings:
        """The evaluation's settings, with what was taken for granted of the table as limits."""
        metrics = self.metrics
        if metrics.ordered is None:
            metrics = metrics.model_copy(update={"ordered": self.classes is not None})
        values = {name: getattr(self, name) for name in ReportSettings.model_fields}
        values |= {"limits": (*self.limits, *notes), "metrics": metrics}
        return ReportSettings.model_validate(values)

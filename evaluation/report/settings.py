"""Everything that decides what stands in an evaluation folder."""

from typing import Literal, get_args

from pydantic import Field

from offsite.evaluation.conformal.settings import ConformalSettings
from offsite.evaluation.ood.settings import OodSettings
from offsite.evaluation.settings import EvaluationSettings, SelectiveSettings
from offsite.evaluation.shift.settings import ShiftSettings
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

"""Which numbers of the trunk are read; known without torch."""

from typing import Literal, Self

from pydantic import Field, model_validator

from offsite.settings import Settings

STAGE_NAMES = ("stem", *(f"stage{number}" for number in range(1, 8)))
"""The maps that can be read, from early to late."""
STAGE_CHANNELS = (32, 16, 24, 40, 80, 112, 192, 320)
"""Channels of each of them."""
StageName = Literal["stem", "stage1", "stage2", "stage3", "stage4", "stage5", "stage6", "stage7"]
StatisticName = Literal["mean", "deviation"]
_GROUPS = {"last": STAGE_NAMES[-1:], "late": STAGE_NAMES[-2:], "all": STAGE_NAMES}


class TrunkReadingSettings(Settings):
    """Which numbers of which stages of the trunk are read."""

    stages: Literal["all", "late", "last"] | tuple[StageName, ...] = Field(
        default="all", description="Stages read: all eight, the late two, the last, or by name"
    )
    statistics: tuple[StatisticName, ...] = Field(
        default=("mean", "deviation"), min_length=1, description="Numbers taken of each channel"
    )
    region: Literal["whole", "disc"] = Field(
        default="whole",
        description="Where: the whole map, or a disc of .85 of its half side (a photograph's field"
        " of view without its rim)",
    )

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        for name, named in (("stages", self.stages), ("statistics", self.statistics)):
            if not isinstance(named, str) and (not named or len(set(named)) < len(named)):
                raise ValueError(f"{name} must name something, and nothing twice")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """The stages, from early to late."""
        named = _GROUPS[self.stages] if isinstance(self.stages, str) else self.stages
        return tuple(name for name in STAGE_NAMES if name in named)

    @property
    def dimensions(self) -> int:
        """How many numbers are read.

        Examples
        --------
        >>> TrunkReadingSettings().dimensions
        1632
        """
        channels = dict(zip(STAGE_NAMES, STAGE_CHANNELS, strict=True))
        return len(self.statistics) * sum(channels[name] for name in self.names)

    def columns_in(self, other: Self) -> list[int]:
        """Return where the numbers of this reading stand among those of another that holds them.

        Examples
        --------
        >>> last = TrunkReadingSettings(stages="last", statistics=("deviation",))
        >>> columns = last.columns_in(TrunkReadingSettings())
        >>> columns[0], columns[-1]
        (1312, 1631)
        """
        channels = dict(zip(STAGE_NAMES, STAGE_CHANNELS, strict=True))
        own = {(stage, each) for stage in self.names for each in self.statistics}
        columns: list[int] = []
        start = 0
        for stage in other.names:
            for statistic in ("mean", "deviation"):
                if statistic not in other.statistics:
                    continue
                if (stage, statistic) in own:
                    columns.extend(range(start, start + channels[stage]))
                start += channels[stage]
        return columns

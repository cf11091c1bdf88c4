"""What a gate is planned for: hospitals, patients, a champion, and candidates beside it."""

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import Field
from scipy.stats import norm

from offsite.errors import InputError
from offsite.settings import Settings

FEWEST_PATIENTS = 10
_FEWEST_ON_A_SIDE = 2
CANDIDATES = {
    "equal": "as good as the champion",
    "better": "better everywhere",
    "worse": "worse everywhere, so that the threshold of its own validation cases calls more healthy cases",
    "worse at sites": "as good as the champion on validation cases and worse at the judged sites",
}
"""The candidates that are planned for, and what they are."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """How far apart a model holds positive and negative cases, in standard deviations of its score.

    Attributes
    ----------
    validation, sites : float
        On validation cases of training sites, and at the judged sites.
    """

    validation: float
    sites: float


class Scenario(Settings):
    """Hospitals whose cases a champion and a candidate both read."""

    prevalence: float = Field(gt=0, lt=1, description="Share (0..1) of positive patients")
    sites: int = Field(default=4, ge=1, le=200, description="Hospitals that are judged")
    held_out: int | None = Field(
        default=None, ge=0, description="How many of them are held out; unset: half"
    )
    patients: int = Field(
        ge=1, le=100_000, description="Labelled patients at each, with one image each"
    )
    sensitivity: float = Field(
        default=0.9, gt=0, lt=1, description="Of the champion, and wanted of a threshold (0..1)"
    )
    specificity: float = Field(
        default=0.85, gt=0, lt=1, description="Of the champion at that threshold (0..1)"
    )
    better: float = Field(
        default=0.03, gt=0, lt=1, description="Sensitivity that a better candidate has more"
    )
    worse: float = Field(
        default=0.05, gt=0, lt=1, description="Sensitivity that a worse candidate has less"
    )
    correlation: float = Field(
        default=0.8, ge=0, lt=1, description="Of the two models' scores of cases of one class"
    )
    spread: float = Field(
        default=0.2,
        ge=0,
        le=2,
        description="Standard deviation over hospitals of how far positive and negative scores lie"
        " apart, in standard deviations of a score; shared by the models",
    )
    validation: int | None = Field(
        default=None,
        ge=FEWEST_PATIENTS,
        description="Validation patients of all training sites; unset: as many as are judged",
    )

    @property
    def training_sites(self) -> int:
        """Judged sites that were trained on."""
        return self.sites - (self.sites // 2 if self.held_out is None else self.held_out)

    @property
    def separation(self) -> float:
        """Distance of the champion's positive from its negative scores."""
        return float(norm.ppf(self.sensitivity) + norm.ppf(self.specificity))

    def candidates(self) -> Mapping[str, Candidate]:
        """The planned candidates by name: :data:`CANDIDATES`.

        A candidate's sensitivity is meant at the champion's specificity.

        Examples
        --------
        >>> found = Scenario(prevalence=0.2, patients=100, specificity=0.9).candidates()
        >>> {name: round(each.sites, 2) for name, each in found.items()}
        {'equal': 2.56, 'better': 2.76, 'worse': 2.32, 'worse at sites': 2.32}
        """
        champion = self.separation
        more, less = (
            float(norm.ppf(self.sensitivity + change) + norm.ppf(self.specificity))
            for change in (self.better, -self.worse)
        )
        return {
            "equal": Candidate(validation=champion, sites=champion),
            "better": Candidate(validation=more, sites=more),
            "worse": Candidate(validation=less, sites=less),
            "worse at sites": Candidate(validation=champion, sites=less),
        }

    def check(self) -> None:
        """Refuse what cannot be simulated, or could not be measured.

        Raises
        ------
        InputError
            Numbers that contradict each other, or too few patients.
        """
        if self.held_out is not None and self.held_out > self.sites:
            raise InputError(
                f"{self.held_out} of {self.sites} hospitals cannot be held out",
                remedy="--held-out is at most --sites",
                code="gate_plan",
            )
        if self.sensitivity + self.better >= 1 or self.sensitivity <= self.worse:
            raise InputError(
                f"a sensitivity of {self.sensitivity:g} leaves no room for a candidate that is"
                f" {self.better:g} better or {self.worse:g} worse",
                remedy="Change --sensitivity, --better or --worse: all stay between 0 and 1",
                code="gate_plan",
            )
        if self.candidates()["worse"].sites <= 0:
            raise InputError(
                f"with a specificity of {self.specificity:g} the worse candidate would not tell"
                " positive from negative cases at all",
                remedy="Give a higher --sensitivity or --specificity",
                code="gate_plan",
            )
        rarer = min(self.prevalence, 1 - self.prevalence) * self.patients
        if self.patients < FEWEST_PATIENTS or rarer < _FEWEST_ON_A_SIDE:
            side = "positive" if self.prevalence < 0.5 else "negative"
            raise InputError(
                f"{self.patients} patients at a site, of whom {rarer:.2g} are {side}, are too few:"
                " nothing is measured there",
                remedy=f"A site needs {FEWEST_PATIENTS} patients, and {_FEWEST_ON_A_SIDE} on the rarer"
                " side",
                code="gate_plan",
            )

"""Settings of the shift tables."""

from pydantic import Field

from offsite.settings import Settings


class ShiftSettings(Settings):
    """How sites are compared with the in-distribution test."""

    misfit_level: float = Field(
        default=0.01,
        gt=0,
        lt=1,
        description="A prior estimated without labels is withheld where label shift fails its test "
        "at this level (0..1)",
    )
    permutations: int = Field(
        default=500,
        ge=19,
        description="Permutations of patients of each two-sample test; where none reaches what was "
        "seen more are taken, so that an alarm is possible among many sites",
    )
    resamples: int = Field(
        default=500, ge=50, description="Draws of the per-site tables that are used, at most"
    )
    max_rows: int = Field(
        default=1000, ge=50, description="Rows of a sample in kernel and classifier tests, at most"
    )
    minimum_rows: int = Field(
        default=20, ge=5, description="Fewest rows on either side for a comparison"
    )
    folds: int = Field(default=5, ge=2, description="Patient-grouped folds of classifier tests")
    ridge: float = Field(
        default=0.1,
        gt=0,
        description="Ridge of classifier tests, as a share of the mean squared feature norm",
    )
    components: int = Field(
        default=64,
        ge=1,
        description="Principal directions in which Fréchet, CORAL and mean distances are taken",
    )
    null_splits: int = Field(
        default=40, ge=19, description="Random halves of the reference behind a distance's null"
    )
    neighbours: tuple[int, ...] = Field(
        default=(5, 10, 20, 40),
        min_length=1,
        description="Neighbour counts among which the robustness index takes the one that "
        "classifies best",
    )
    seed: int = Field(default=0, ge=0, description="Seed of permutations, folds and resamples")

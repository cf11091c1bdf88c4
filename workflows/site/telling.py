"""A predictor that tells more of a case than its inner one, and is the same in all else."""

from collections.abc import Sequence
from typing import Any

from offsite.children.pool import Place
from offsite.training.prediction.contract import ModelAnswer, OpensElsewhere, Predictor, Prepared


class Telling:
    """Does what the inner predictor does; a subclass says what more its answers carry.

    Parameters
    ----------
    inner : Predictor
    """

    def __init__(self, inner: Predictor) -> None:
        self.inner = inner
        self.batch_size, self.concurrent = inner.batch_size, inner.concurrent

    def open_at(self, place: Place) -> None:
        """Open files where the inner predictor is told to."""
        if isinstance(self.inner, OpensElsewhere):
            self.inner.open_at(place)

    def prepare(self, item: Any) -> Prepared:
        """Prepare as the inner predictor does."""
        return self.inner.prepare(item)

    def infer(self, batch: Sequence[Prepared]) -> list[ModelAnswer]:
        """Answer as the inner predictor does."""
        return self.inner.infer(batch)

    def shrink(self) -> bool:
        """Give memory back as the inner predictor does."""
        return self.inner.shrink()

    def describe(self) -> dict[str, Any]:
        """Return what the results depend on; answers that tell less are no answers here."""
        return self.inner.describe()

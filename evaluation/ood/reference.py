"""A detector with the in-distribution scores it is read against: threshold and percentile."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np

from offsite.errors import InputError
from offsite.evaluation.ood.detector import Detector
from offsite.evaluation.ood.names import DETECTORS

_LEVELS = 1001
_PREFIX = "detector."


@dataclass(frozen=True, kw_only=True, eq=False)
class ReferencedDetector:
    """A fitted detector, its frozen threshold and the quantiles of in-distribution scores.

    Attributes
    ----------
    detector : Detector
        Fitted on training rows.
    quantiles : numpy.ndarray
        1,001 quantiles (0, .001, ..., 1) of the scores of rows the detector has not seen.
    threshold : float
        A row is flagged where its score lies above.
    n : int
        Rows behind the quantiles.
    """

    detector: Detector
    quantiles: np.ndarray
    threshold: float
    n: int

    @classmethod
    def of(cls, detector: Detector, scores: np.ndarray, kept: float = 0.95) -> Self:
        """From the scores of unseen in-distribution rows.

        The threshold is the ``ceil((n + 1) kept)``-th smallest score (the largest one where that
        is more than n), so that a new exchangeable row passes with probability ``kept`` or more.
        """
        ordered = np.sort(np.asarray(scores, dtype=np.float64))
        if len(ordered) == 0:
            raise InputError(
                "no in-distribution rows to set a threshold on",
                remedy="Give validation rows of training sites",
            )
        rank = min(len(ordered), int(np.ceil((len(ordered) + 1) * kept - 1e-9)))
        return cls(
            detector=detector,
            quantiles=np.quantile(ordered, np.linspace(0, 1, _LEVELS)),
            threshold=float(ordered[rank - 1]),
            n=len(ordered),
        )

    def score(self, embeddings: np.ndarray, logits: np.ndarray) -> np.ndarray:
        """N scores; larger is more out of distribution."""
        return self.detector.score(embeddings, logits)

    def percentile(self, scores: np.ndarray) -> np.ndarray:
        """Where scores stand in the in-distribution ones, N in 0..100; ties take the middle."""
        left = np.searchsorted(self.quantiles, scores, side="left")
        right = np.searchsorted(self.quantiles, scores, side="right")
        position = np.interp(scores, self.quantiles, np.linspace(0, 100, _LEVELS))
        return np.where(right - left > 1, (left + right - 1) / 2 * 100 / (_LEVELS - 1), position)

    def flag(self, scores: np.ndarray) -> np.ndarray:
        """N booleans: over the threshold."""
        return np.asarray(scores) > self.threshold

    def to_arrays(self) -> dict[str, np.ndarray]:
        """All of it as arrays by name, for a package's ``reference.npz``."""
        fitted = {_PREFIX + name: array for name, array in self.detector.to_arrays().items()}
        return {
            "name": np.array(self.detector.name),
            "quantiles": self.quantiles,
            "threshold": np.array(self.threshold),
            "n": np.array(self.n),
            **fitted,
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Self:
        """Back from ``to_arrays``."""
        missing = [name for name in ("name", "quantiles", "threshold", "n") if name not in arrays]
        if missing:
            raise InputError(
                f"the stored detector lacks {', '.join(missing)}",
                remedy="Write it by to_arrays",
            )
        fitted = {
            name.removeprefix(_PREFIX): arrays[name] for name in arrays if name.startswith(_PREFIX)
        }
        return cls(
            detector=DETECTORS.named(str(arrays["name"])).from_arrays(fitted),
            quantiles=np.asarray(arrays["quantiles"], dtype=np.float64),
            threshold=float(arrays["threshold"]),
            n=int(arrays["n"]),
        )

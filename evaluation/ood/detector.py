"""What a detector is: fitted on training rows, scores others, read against familiar scores, stored as arrays."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import ClassVar, Self, dataclass_transform

import numpy as np
from scipy.linalg import solve

from offsite.errors import InputError
from offsite.evaluation.ood.settings import DETECTORS, OodSettings

_LEVELS = 1001
_PREFIX = "detector."


@dataclass(frozen=True, kw_only=True, eq=False)
class Head:
    """The last linear layer: ``logits = embeddings @ weight.T + bias``.

    Attributes
    ----------
    weight : numpy.ndarray
        C x E.
    bias : numpy.ndarray
        C.
    """

    weight: np.ndarray
    bias: np.ndarray

    def __call__(self, embeddings: np.ndarray) -> np.ndarray:
        """Logits, N x C."""
        return embeddings @ self.weight.T + self.bias


@dataclass(frozen=True, eq=False)
class Training:
    """What a detector is fitted on; see `Detector.fit`."""

    embeddings: np.ndarray
    logits: np.ndarray
    labels: np.ndarray
    head: Head | None
    settings: OodSettings


@dataclass_transform(kw_only_default=True, frozen_default=True)
class Detector(ABC):
    """A fitted detector. Subclasses are made frozen dataclasses; their fields are all arrays.

    ``needs`` names what ``fit`` and ``score`` use: ``embeddings``, ``logits``, ``probabilities``
    (logits up to a constant of each row will do), ``head``. ``block`` rows are scored at a time.
    """

    name: ClassVar[str]
    needs: ClassVar[frozenset[str]]
    block: ClassVar[int]

    def __init_subclass__(cls, *, name: str, needs: str, block: int = 8192) -> None:
        cls.name, cls.needs, cls.block = name, frozenset(needs.split()), block
        dataclass(frozen=True, kw_only=True, eq=False)(cls)

    @classmethod
    def fit(
        cls,
        embeddings: np.ndarray,
        logits: np.ndarray,
        labels: np.ndarray,
        head: Head | None = None,
        settings: OodSettings | None = None,
    ) -> Self:
        """Fit on training rows of training sites.

        Parameters
        ----------
        embeddings, logits : numpy.ndarray
            N x E and N x C.
        labels : numpy.ndarray
            N class indices, -1 where unknown.
        head : Head, optional
            The model's last layer, where there is one.
        settings : OodSettings, optional
            Hyper-parameters.
        """
        if "head" in cls.needs and head is None:
            raise InputError(
                f"'{cls.name}' needs the linear head", remedy="Give head=Head(weight, bias)"
            )
        return cls._of(Training(embeddings, logits, labels, head, settings or OodSettings()))

    @classmethod
    def _of(cls, given: Training) -> Self:
        """Fit on what ``fit`` was given; what has no fields is not fitted."""
        return cls()

    def score(self, embeddings: np.ndarray, logits: np.ndarray) -> np.ndarray:
        """N scores, float64; larger is more out of distribution. Blocks bound the memory."""
        scores = [np.empty(0)]
        for start in range(0, max(len(embeddings), len(logits)), self.block):
            part = slice(start, start + self.block)
            rows, outputs = (np.asarray(of[part], np.float64) for of in (embeddings, logits))
            scores.append(self._score(rows, outputs))
        return np.concatenate(scores)

    @abstractmethod
    def _score(self, embeddings: np.ndarray, logits: np.ndarray) -> np.ndarray:
        """Scores of some rows, float64 as what is given."""

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Everything that was fitted, as arrays by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type]

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Self:
        """Back from ``to_arrays``."""
        names = [field.name for field in fields(cls)]  # type: ignore[arg-type]
        missing = [name for name in names if name not in arrays]
        if missing:
            raise InputError(
                f"detector '{cls.name}' lacks {', '.join(missing)}",
                remedy="Write its arrays by to_arrays",
            )
        return cls(**{name: np.asarray(arrays[name]) for name in names})


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
        """Where scores stand in the in-distribution ones, N in 0..100; ties take the middle.

        The r-th smallest of n stands at ``100 r / (n + 1)``, what lies above or below them all at 100
        or 0. So about 1 % of new exchangeable rows stand at 99 or over; of fewer than 99 rows nothing
        less than 1 in n + 1 can be said, and only what lies above them all does.
        """
        scores = np.asarray(scores, dtype=np.float64)
        left = np.searchsorted(self.quantiles, scores, side="left")
        right = np.searchsorted(self.quantiles, scores, side="right")
        share = np.interp(scores, self.quantiles, np.linspace(0, 1, _LEVELS))
        share = np.where(right - left > 1, (left + right - 1) / 2 / (_LEVELS - 1), share)
        position = 100 * (1 + share * (self.n - 1)) / (self.n + 1)
        position = np.where(scores > self.quantiles[-1], 100.0, position)
        return np.where(scores < self.quantiles[0], 0.0, position)

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


def recover_head(embeddings: np.ndarray, logits: np.ndarray) -> Head | None:
    """The linear head between embeddings and logits, or ``None`` where there is not one.

    Least squares on the even rows must explain the odd rows to within a thousandth of their
    variance; so a non-linear head, or too few rows to know, gives ``None``. Our construction: a
    predictions table need not carry the weights for the scores that use them.
    """
    if len(embeddings) < 4:
        return None
    rows, target = np.asarray(embeddings, np.float64), np.asarray(logits, np.float64)
    centre, level = rows.mean(axis=0), target.mean(axis=0)
    rows, target = rows - centre, target - level
    # Normal equations: with the smallest of ridges as exact as needed, and far faster than an SVD.
    halves = [
        (half.T @ half, half.T @ goal)
        for half, goal in ((rows[::2], target[::2]), (rows[1::2], target[1::2]))
    ]
    weight = _least_squares(*halves[0])
    if weight is None:
        return None
    error = ((rows[1::2] @ weight - target[1::2]) ** 2).sum()
    if error > 1e-3 * (target[1::2] ** 2).sum():
        return None
    weight = _least_squares(halves[0][0] + halves[1][0], halves[0][1] + halves[1][1])
    return None if weight is None else Head(weight=weight.T, bias=level - centre @ weight)


def _least_squares(moments: np.ndarray, products: np.ndarray) -> np.ndarray | None:
    scale = float(np.trace(moments)) / len(moments)
    if scale <= 0:
        return None
    ridge = 1e-11 * scale * np.eye(len(moments))
    return np.asarray(solve(moments + ridge, products, assume_a="pos"))

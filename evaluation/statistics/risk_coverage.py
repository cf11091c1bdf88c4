"""Risk and coverage as cases are accepted, most confident first: curves and their areas."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True, eq=False)
class RiskCoverage:
    """Risk as cases are accepted from the most confident on; arrays are B x G or G.

    Attributes
    ----------
    thresholds : numpy.ndarray
        G distinct confidences, decreasing.
    accepted : numpy.ndarray
        B x G: weight of the cases at or over each threshold.
    errors : numpy.ndarray
        B x G: weight of the wrong ones among them.
    """

    thresholds: np.ndarray
    accepted: np.ndarray
    errors: np.ndarray

    @classmethod
    def of(
        cls, confidence: np.ndarray, wrong: np.ndarray, weights: np.ndarray | None = None
    ) -> "RiskCoverage":
        """Sort N cases once, for B x N whole weights (one row of ones by default)."""
        if weights is None:
            weights = np.ones((1, len(confidence)))
        order = np.argsort(-np.asarray(confidence), kind="stable")
        ranked = np.asarray(confidence)[order]
        last = np.flatnonzero(np.r_[ranked[1:] != ranked[:-1], True])
        ordered = np.asarray(weights, dtype=np.float64)[:, order]
        return cls(
            thresholds=ranked[last],
            accepted=ordered.cumsum(axis=1)[:, last],
            errors=(ordered * np.asarray(wrong)[order]).cumsum(axis=1)[:, last],
        )

    @property
    def n(self) -> np.ndarray:
        """Weight of all cases, B."""
        return self.accepted[:, -1]

    def aurc(self) -> np.ndarray:
        """Mean over k of the error rate of the k most confident (Geifman et al. 2019), B.

        Cases of equal confidence come in random order; this is the exact mean over orders.
        """
        before, inside, errors_before, errors_inside = self._groups()
        rate = np.divide(errors_inside, inside, out=np.zeros_like(inside), where=inside > 0)
        harmonic = np.r_[0.0, np.cumsum(1 / np.arange(1, int(self.n.max()) + 1))]
        steps = harmonic[self.accepted.astype(int)] - harmonic[before.astype(int)]
        area = rate * inside + (errors_before - before * rate) * steps
        return area.sum(axis=1) / self.n

    def excess_aurc(self) -> np.ndarray:
        """AURC minus that of a confidence that puts every error last, B."""
        harmonic = np.r_[0.0, np.cumsum(1 / np.arange(1, int(self.n.max()) + 1))]
        total, wrong = self.n, self.errors[:, -1]
        right = total - wrong
        best = wrong - right * (harmonic[total.astype(int)] - harmonic[right.astype(int)])
        return self.aurc() - best / total

    def augrc(self) -> np.ndarray:
        """Area under the share of all cases that are accepted and wrong (Traub et al. 2024), B.

        Equals ``(1 - AUROC of error detection) acc (1 - acc) + (1 - acc)^2 / 2``.
        """
        _, inside, errors_before, _ = self._groups()
        return ((errors_before + self.errors) / 2 * inside).sum(axis=1) / self.n**2

    def accuracy_at(self, coverage: float) -> np.ndarray:
        """Accuracy of the most confident ``coverage`` of cases, B; linear between thresholds."""
        wanted = coverage * self.n
        result = np.empty(len(wanted))
        for index, (accepted, errors) in enumerate(zip(self.accepted, self.errors, strict=True)):
            wrong = np.interp(wanted[index], np.r_[0.0, accepted], np.r_[0.0, errors])
            result[index] = 1 - wrong / wanted[index]
        return result

    def _groups(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """(accepted before, in group, errors before, errors in group), B x G each."""
        zero = np.zeros((len(self.accepted), 1))
        before = np.hstack([zero, self.accepted[:, :-1]])
        errors_before = np.hstack([zero, self.errors[:, :-1]])
        return before, self.accepted - before, errors_before, self.errors - errors_before

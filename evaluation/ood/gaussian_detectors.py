"""Detectors that follow from one ``FeatureStats``: Mahalanobis, relative, residual and ViM."""

from typing import Self

import numpy as np
from scipy.linalg import LinAlgError, cholesky, solve_triangular
from scipy.special import logsumexp

from offsite.errors import InputError
from offsite.evaluation.ood.detector import Detector, Head, Training
from offsite.evaluation.statistics.feature_stats import FeatureStats


class Mahalanobis(Detector, name="mahalanobis", needs="embeddings"):
    """``min_c (z - mu_c)' S^-1 (z - mu_c)``, S within classes, OAS-shrunk (Lee et al. 2018).

    With fewer rows than dimensions the plain inverse, or a fixed ridge, is at chance; shrinkage
    by Chen et al. (2010) holds there.
    """

    means: np.ndarray
    whitener: np.ndarray

    @classmethod
    def of(cls, stats: FeatureStats) -> Self:
        """From statistics, of however many batches and sites merged."""
        whitener = inverse_root(stats.within_covariance())
        return cls(means=stats.means[stats.present], whitener=whitener)

    @classmethod
    def _of(cls, given: Training) -> Self:
        """Class means and the shrunk covariance within classes; absent classes take no part."""
        return cls.of(_stats(given.embeddings, given.labels))

    def _score(self, embeddings: np.ndarray, logits: np.ndarray) -> np.ndarray:
        return _nearest(embeddings, self.means, self.whitener)


class RelativeMahalanobis(Detector, name="relative_mahalanobis", needs="embeddings"):
    """``min_c d_c(z) - d_0(z)``, d_0 from the pooled mean and covariance (Ren et al. 2021)."""

    means: np.ndarray
    whitener: np.ndarray
    mean: np.ndarray
    total_whitener: np.ndarray

    @classmethod
    def _of(cls, given: Training) -> Self:
        """Both covariances are OAS-shrunk."""
        stats = _stats(given.embeddings, given.labels)
        return cls(
            means=stats.means[stats.present],
            whitener=inverse_root(stats.within_covariance()),
            mean=stats.mean(),
            total_whitener=inverse_root(stats.total_covariance()),
        )

    def _score(self, embeddings: np.ndarray, logits: np.ndarray) -> np.ndarray:
        background = _nearest(embeddings, self.mean[None], self.total_whitener)
        return _nearest(embeddings, self.means, self.whitener) - background


class Residual(Detector, name="residual", needs="embeddings"):
    """``||R'(z - u)||``: the part of a feature outside the principal space (Wang et al. 2022).

    R holds the eigenvectors of ``(Z - u)'(Z - u) / N`` but for the d largest; u is
    ``-pinv(W) b`` where a linear head is known, else the mean. d never exceeds the rank, so the
    result does not depend on how a solver orders a null space.
    """

    origin: np.ndarray
    basis: np.ndarray

    @classmethod
    def _of(cls, given: Training) -> Self:
        """Labels are not used: every row counts."""
        stats = FeatureStats.of(given.embeddings, None, 1)
        origin, basis = residual_space(stats, given.head, given.settings.principal)
        return cls(origin=origin, basis=basis)

    def _score(self, embeddings: np.ndarray, logits: np.ndarray) -> np.ndarray:
        return np.asarray(np.sqrt((((embeddings - self.origin) @ self.basis) ** 2).sum(axis=1)))


class Vim(Residual, name="vim", needs="embeddings logits"):
    """``alpha ||R'(z - u)|| - log sum_c exp(l_c)`` (Wang et al. 2022, ViM, section 4).

    ``alpha = mean(max_c l_c) / mean(||R'(z - u)||)`` over the training rows; origin and basis as
    in ``Residual``. Our construction where the paper is silent: a vanishing training residual
    (no rank left) gives alpha 0, energy alone; and where the mean of ``max_c l_c`` is negative,
    which would turn the score round, logits are taken about the mean of their row.
    """

    alpha: np.ndarray

    @classmethod
    def _of(cls, given: Training) -> Self:
        """Labels are not used: every row counts."""
        outside = Residual._of(given)
        residual = outside.score(given.embeddings, given.logits).mean()
        spread = np.var(given.embeddings, axis=0, dtype=np.float64).sum()
        alpha = 0.0 if residual <= 1e-9 * np.sqrt(spread) else _logit_scale(given.logits) / residual
        return cls(**outside.to_arrays(), alpha=np.array(alpha))

    def _score(self, embeddings: np.ndarray, logits: np.ndarray) -> np.ndarray:
        virtual = self.alpha * super()._score(embeddings, logits)
        return np.asarray(virtual - logsumexp(logits, axis=1))


def inverse_root(covariance: np.ndarray) -> np.ndarray:
    """W with ``W'W`` the inverse covariance (inverse Cholesky factor), D x D."""
    try:
        root = cholesky(covariance, lower=True)
    except LinAlgError as error:
        raise InputError(
            "features do not vary",
            remedy="Give more training rows, or look for a collapsed model",
            code="constant_embeddings",
        ) from error
    return solve_triangular(root, np.eye(len(covariance)), lower=True)


def residual_space(
    stats: FeatureStats, head: Head | None, principal: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """Origin (D) and an orthonormal basis (D x (D - d)) of the space outside the principal one."""
    origin = stats.mean() if head is None else -np.linalg.pinv(head.weight) @ head.bias
    values, vectors = np.linalg.eigh(stats.scatter_about(origin) / stats.n)
    dimensions = stats.dimensions
    rank = int((values > values[-1] * dimensions * np.finfo(np.float64).eps).sum())
    wanted = _default_principal(dimensions) if principal is None else principal
    kept = min(wanted, rank, dimensions - 1)
    return origin, vectors[:, : dimensions - kept]


def _logit_scale(logits: np.ndarray) -> float:
    values = np.asarray(logits, np.float64)
    scale = values.max(axis=1).mean()
    return float(scale if scale > 0 else scale - values.mean())


def _default_principal(dimensions: int) -> int:
    if dimensions >= 1500:
        return 1000
    return 512 if dimensions >= 768 else dimensions // 2


def _stats(embeddings: np.ndarray, labels: np.ndarray) -> FeatureStats:
    labels = np.asarray(labels)
    return FeatureStats.of(embeddings, labels, int(labels.max(initial=0)) + 1)


def _nearest(embeddings: np.ndarray, means: np.ndarray, whitener: np.ndarray) -> np.ndarray:
    """Squared distance to the nearest mean after whitening."""
    centre = means.mean(axis=0)
    rows = (embeddings - centre) @ whitener.T
    distances = [((rows - mean) ** 2).sum(axis=1) for mean in (means - centre) @ whitener.T]
    return np.asarray(np.min(distances, axis=0))

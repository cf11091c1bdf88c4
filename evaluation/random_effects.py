"""Random effects: the mean over hospitals, how they differ, and what to expect at a new one."""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.stats import chi2, t


@dataclass(frozen=True, kw_only=True)
class RandomEffects:
    """A meta-analysis of k site effects on one scale.

    Attributes
    ----------
    mean, error : float
        Mean over hospitals and its standard error (Hartung, Knapp, Sidik, Jonkman).
    tau2 : float
        Variance between hospitals (Paule and Mandel).
    q, q_p_value, i2 : float
        Cochran's Q, its p-value, and max(0, (Q - (k - 1)) / Q).
    sites : int
        k.
    """

    mean: float
    error: float
    tau2: float
    q: float
    q_p_value: float
    i2: float
    sites: int

    def mean_interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """Interval of the mean, Student's t with k - 1 degrees of freedom."""
        width = t.ppf((1 + confidence) / 2, self.sites - 1) * self.error
        return self.mean - width, self.mean + width

    def prediction_interval(self, confidence: float = 0.95) -> tuple[float, float] | None:
        """Interval of the true effect at a new hospital; ``None`` with fewer than three sites.

        mean ± t(k - 2) sqrt(tau2 + error^2): Higgins, Thompson and Spiegelhalter (2009).
        """
        if self.sites < 3:
            return None
        spread = np.sqrt(self.tau2 + self.error**2)
        width = float(t.ppf((1 + confidence) / 2, self.sites - 2) * spread)
        return self.mean - width, self.mean + width


def random_effects(effects: np.ndarray, errors: np.ndarray) -> RandomEffects:
    """Combine k >= 2 site effects with their standard errors (> 0).

    The variance of the mean is that of Hartung and Knapp (2001) and Sidik and Jonkman (2002),
    never smaller than the classical one (Röver, Knapp and Friede 2015).

    Raises
    ------
    ValueError
        Fewer than two effects, or an error that is not positive.
    """
    y, v = np.asarray(effects, dtype=np.float64), np.asarray(errors, dtype=np.float64) ** 2
    if len(y) < 2 or not np.all(v > 0):
        raise ValueError("random effects need two effects or more, with positive errors")
    degrees = len(y) - 1
    q = _cochran(y, v, 0.0)
    tau2 = paule_mandel(y, v)
    weights = 1 / (v + tau2)
    mean = float(weights @ y / weights.sum())
    scale = max(1.0, float(weights @ (y - mean) ** 2) / degrees)
    return RandomEffects(
        mean=mean,
        error=float(np.sqrt(scale / weights.sum())),
        tau2=tau2,
        q=q,
        q_p_value=float(chi2.sf(q, degrees)),
        i2=max(0.0, (q - degrees) / q) if q > 0 else 0.0,
        sites=len(y),
    )


def paule_mandel(effects: np.ndarray, variances: np.ndarray) -> float:
    """The variance between sites at which Cochran's Q is its expectation (Paule, Mandel 1982)."""
    degrees = len(effects) - 1
    if _cochran(effects, variances, 0.0) <= degrees:
        return 0.0
    top = float(np.var(effects, ddof=1)) + float(variances.max())
    while _cochran(effects, variances, top) > degrees:
        top *= 2
    return float(
        brentq(lambda tau2: _cochran(effects, variances, tau2) - degrees, 0.0, top, xtol=1e-14)
    )


def _cochran(effects: np.ndarray, variances: np.ndarray, tau2: float) -> float:
    weights = 1 / (variances + tau2)
    mean = weights @ effects / weights.sum()
    return float(weights @ (effects - mean) ** 2)

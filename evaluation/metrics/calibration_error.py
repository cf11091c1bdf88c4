"""Calibration errors over equal-mass bins, and what a perfectly calibrated model would show."""

from dataclasses import dataclass

import numpy as np

_NORMAL_FROM = 25.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Bins:
    """Rows in bins of equal mass; equal probabilities share a bin.

    Attributes
    ----------
    of_row : numpy.ndarray
        int64, N: the bin of each row, 0 to K - 1.
    sizes : numpy.ndarray
        int64, K; none is empty.
    probability, observed : numpy.ndarray
        float64, K: mean predicted probability and share of positives.
    """

    of_row: np.ndarray
    sizes: np.ndarray
    probability: np.ndarray
    observed: np.ndarray


def equal_mass_bins(probabilities: np.ndarray, positive: np.ndarray, bins: int) -> Bins:
    """At most ``bins`` bins of N >= 1 probabilities with N booleans."""
    order = np.argsort(probabilities, kind="stable")
    places = np.empty(len(order), dtype=np.int64)
    places[order] = np.arange(len(order)) * bins // len(order)
    # Tied rows go where the first of them goes.
    _, first, tied = np.unique(probabilities[order], return_index=True, return_inverse=True)
    places[order] = places[order][first][tied]
    of_row = np.unique(places, return_inverse=True)[1].astype(np.int64)
    sizes = np.bincount(of_row)
    return Bins(
        of_row=of_row,
        sizes=sizes,
        probability=np.bincount(of_row, probabilities) / sizes,
        observed=np.bincount(of_row, positive) / sizes,
    )


def expected_error(bins: Bins, observed: np.ndarray) -> np.ndarray:
    """Mean over rows of |observed - predicted| of their bin, for (..., K) observed shares."""
    gaps = np.abs(observed - bins.probability)
    return (gaps * bins.sizes).sum(axis=-1) / bins.sizes.sum()


def debiased_error(bins: Bins, observed: np.ndarray) -> np.ndarray:
    """Root of the squared calibration error less its noise, for (..., K) observed shares.

    Kumar, Liang and Ma (2019), section 4.1: sum over bins of
    share * [(observed - predicted)^2 - observed (1 - observed) / (size - 1)]; below 0 it is 0.
    """
    noise = observed * (1 - observed) / np.maximum(bins.sizes - 1, 1)
    squares = (observed - bins.probability) ** 2 - noise
    return np.sqrt(np.maximum((squares * bins.sizes).sum(axis=-1) / bins.sizes.sum(), 0.0))


def simulated_shares(
    bins: Bins,
    probabilities: np.ndarray,
    simulations: int,
    generator: np.random.Generator,
    answers: np.ndarray | None = None,
) -> np.ndarray:
    """Observed shares of each bin if every probability were true, ``simulations`` x K.

    Bins whose number of positives has a variance of 25 or more are drawn from the normal law of
    the same mean and variance, the others row by row.

    Parameters
    ----------
    bins : Bins
        Bins of the rows.
    probabilities : numpy.ndarray
        N.
    simulations : int
        Label sets to draw.
    generator : numpy.random.Generator
        Source of the draws.
    answers : numpy.ndarray, optional
        N numbers: rows of one number repeat one answer, such as a patient's for each of its
        slides, and come true together; unset: each row is an answer of its own.
    """
    first, copies = np.arange(len(probabilities)), np.ones(len(probabilities))
    if answers is not None:
        _, first, counts = np.unique(answers, return_index=True, return_counts=True)
        order = np.argsort(first)
        first, copies = first[order], counts[order].astype(np.float64)
    chance, of_row = probabilities[first], bins.of_row[first]
    spread = chance * (1 - chance)
    variance = np.bincount(of_row, copies**2 * spread)
    wide = np.bincount(of_row, spread) >= _NORMAL_FROM
    shares = np.empty((simulations, len(bins.sizes)))
    normal = generator.standard_normal((simulations, int(wide.sum())))
    shares[:, wide] = bins.probability[wide] + normal * np.sqrt(variance[wide]) / bins.sizes[wide]
    narrow = np.flatnonzero(~wide)
    for number in narrow:
        in_bin = of_row == number
        drawn = generator.random((simulations, int(in_bin.sum())), dtype=np.float32)
        true = drawn < chance[in_bin].astype(np.float32)
        shares[:, number] = true @ copies[in_bin] / bins.sizes[number]
    return np.clip(shares, 0.0, 1.0)

"""What words keep of a model's answers, and which of them an answer rests on."""

from collections.abc import Callable, Sequence

import numpy as np
from scipy.special import logsumexp

Logits = Callable[[np.ndarray], np.ndarray]
"""From the tiles of a bag (N x D) to its logits (C)."""


def kept_share(
    logits: Logits, bags: Sequence[np.ndarray], replaced: Callable[[np.ndarray], np.ndarray]
) -> float:
    """Return the share of the answers' log-odds that is kept with words in the place of tiles.

    1 - sum |z - z'|^2 / sum |z - mean of z|^2, z being a bag's logits about their mean over classes, of
    its tiles, and z' those of its words: 1, the words say all; 0 or less, no more than the same answer to
    every bag. Our construction.

    Parameters
    ----------
    bags : sequence of numpy.ndarray
        N x D each; two at least.
    replaced : callable
        Tiles with the mean features of their words in their place.
    """
    plain = np.stack([_centred(logits(rows)) for rows in bags])
    words = np.stack([_centred(logits(replaced(rows))) for rows in bags])
    spread = ((plain - plain.mean(axis=0)) ** 2).sum()
    return float(1 - ((plain - words) ** 2).sum() / spread) if spread > 0 else 0.0


def falls(logits: Logits, rows: np.ndarray, words: np.ndarray, n_words: int) -> np.ndarray:
    """Return by how much the log-odds of the called class fall without each word's tiles (K).

    Below 0: the word speaks against the answer. NaN where the bag lacks the word or has no other.

    Parameters
    ----------
    rows : numpy.ndarray
        N x D, the tiles of a bag; or N, their numbers, where ``logits`` takes those.
    words : numpy.ndarray
        N, int: their words.
    """
    whole = logits(rows)
    called = int(whole.argmax())
    found = np.full(n_words, np.nan)
    for word in np.unique(words):
        left = words != word
        if left.any():
            found[word] = _odds(whole, called) - _odds(logits(rows[left]), called)
    return found


def _centred(logits: np.ndarray) -> np.ndarray:
    wide = np.asarray(logits, np.float64)
    return wide - wide.mean()


def _odds(logits: np.ndarray, called: int) -> float:
    """The log-odds of a class against all others."""
    wide = np.asarray(logits, np.float64)
    return float(wide[called] - logsumexp(np.delete(wide, called)))

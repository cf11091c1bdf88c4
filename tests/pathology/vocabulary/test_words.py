"""Tissue words: tissue and not stain, what they keep of an answer, and what an answer rests on."""

import numpy as np
import pytest
from scipy.special import logsumexp

from offsite.pathology.vocabulary.answers import falls, kept_share
from offsite.pathology.vocabulary.views import VIEWS, scatter_of_views
from offsite.pathology.vocabulary.words import fit_vocabulary

rng = np.random.default_rng(0)
TISSUE = np.repeat(np.arange(4), 150)
CENTRES = np.eye(6)[:4] * 4
STAIN = rng.normal(0, 12, 600)
ROWS = CENTRES[TISSUE] + rng.normal(0, 0.3, (600, 6)) + STAIN[:, None] * np.eye(6)[5]
WITHIN = np.diag([0.01] * 5 + [144.0])


def purity(words):
    """Share of tiles whose word's commonest tissue is theirs."""
    commonest = [np.bincount(TISSUE[words == word]).max() for word in np.unique(words)]
    return sum(commonest) / len(words)


def test_words_follow_the_tissue_where_the_stain_is_whitened_and_the_stain_where_it_is_not():
    whitened = fit_vocabulary(ROWS, WITHIN, 4)
    plain = fit_vocabulary(ROWS, np.zeros((6, 6)), 4)
    assert purity(whitened.of(ROWS)) == 1.0
    assert purity(plain.of(ROWS)) < 0.6
    moved = ROWS + rng.normal(0, 12, (600, 1)) * np.eye(6)[5]  # the same tiles, stained again
    assert (whitened.of(moved) == whitened.of(ROWS)).mean() > 0.99
    assert (plain.of(moved) == plain.of(ROWS)).mean() < 0.7


def test_words_are_ordered_by_how_common_they_are_and_stand_for_their_tiles():
    rows = ROWS[np.concatenate([np.flatnonzero(t == TISSUE)[: 30 * (t + 1)] for t in range(4)])]
    found = fit_vocabulary(rows, WITHIN, 4)
    counts = np.bincount(found.of(rows))
    assert counts.tolist() == [120, 90, 60, 30]
    np.testing.assert_allclose(found.shares(rows), counts / 300)
    for word in range(4):
        mine = found.of(rows) == word
        np.testing.assert_allclose(found.means[word], rows[mine].mean(0), atol=1e-9)
        assert (found.replaced(rows)[mine] == found.means[word].astype(np.float16)).all()
    again = fit_vocabulary(rows, WITHIN, 4)
    np.testing.assert_array_equal(again.places, found.places)
    assert len(fit_vocabulary(np.ones((5, 6)), WITHIN, 4)) == 1


def bags(n=30):
    draw = np.random.default_rng(1)
    return [ROWS[draw.choice(600, 40)] for _ in range(n)]


def test_words_keep_an_answer_that_reads_tissue_and_not_one_that_reads_the_stain():
    words = fit_vocabulary(ROWS, WITHIN, 4)
    tissue = lambda rows: np.array([0.0, 1.0]) * rows[:, 0].mean()  # noqa: E731
    stain = lambda rows: np.array([0.0, 1.0]) * rows[:, 5].mean()  # noqa: E731
    assert kept_share(tissue, bags(), words.replaced) > 0.95
    assert kept_share(stain, bags(), words.replaced) < 0.5
    assert kept_share(lambda rows: np.zeros(2), bags(), words.replaced) == 0.0


def test_an_answer_falls_without_the_word_that_it_rests_on():
    weights = np.array([[3.0, 0, 0], [0, 3.0, 0], [0, 0, 1.0], [0, 0, 0], [0, 0, 0], [0, 0, 0]])
    words = fit_vocabulary(ROWS, WITHIN, 4)
    logits = lambda rows: np.asarray(rows, float).mean(0) @ weights  # noqa: E731
    rows = np.concatenate([ROWS[TISSUE == 0][:20], ROWS[TISSUE == 2][:10]])
    of = words.of(rows)
    found = falls(logits, rows, of, 4)
    driving, other = of[0], of[-1]
    assert found[driving] > 0 > found[other]
    assert np.isnan(np.delete(found, [driving, other])).all()
    z, left = logits(rows), logits(rows[of != driving])
    odds = [v[0] - logsumexp(v[1:]) for v in (z, left)]
    assert found[driving] == pytest.approx(odds[0] - odds[1])
    assert np.isnan(falls(logits, rows[:5], of[:5], 4)).all()  # of one word alone nothing is left


class Colour:
    """Mean colours, which the stain moves, and a number that it does not."""

    dimensions = 4

    def encode(self, pixels):
        means = pixels.reshape(len(pixels), -1, 3).mean(1)
        return np.concatenate([means, np.ones((len(pixels), 1))], axis=1).astype(np.float32)


def test_views_scatter_in_what_the_stain_moves():
    tiles = rng.integers(90, 200, (3, 16, 16, 3), dtype=np.uint8)
    within, seen = scatter_of_views([tiles[:2], tiles[2:]], Colour())
    again, _ = scatter_of_views([tiles[:2], tiles[2:]], Colour())
    assert seen == 3
    assert VIEWS >= 2
    np.testing.assert_array_equal(within, again)
    assert (np.diag(within)[:3] > 1).all()
    assert np.abs(within[3]).max() < 1e-12
    np.testing.assert_allclose(within, within.T)

"""Every detector against a plain second implementation, and what shrinkage is for."""

import numpy as np
import pytest
from scipy.special import logsumexp, softmax
from sklearn.covariance import OAS
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors

from offsite.errors import InputError
from offsite.evaluation.ood.detector import Head, recover_head
from offsite.evaluation.ood.gaussian_detectors import Mahalanobis, Residual
from offsite.evaluation.ood.neighbour_detectors import thinned
from offsite.evaluation.ood.settings import DETECTORS, OodSettings
from offsite.evaluation.statistics.feature_stats import FeatureStats

N, D, C = 300, 20, 4
SETTINGS = OodSettings(bank_rows=1000, neighbours=12, principal=6)


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(5)
    labels = rng.integers(0, C, N)
    centres = rng.normal(size=(C, D))
    train = np.maximum(rng.normal(size=(N, D)) + centres[labels], -1)
    head = Head(weight=centres + 0.5 * rng.normal(size=(C, D)), bias=rng.normal(size=C))
    new = rng.normal(size=(50, D)) * 2
    return train, head(train), labels, head, new, head(new)


def shrunk_inverse(rows):
    return np.linalg.inv(OAS(assume_centered=True).fit(rows).covariance_)


def class_means(z, y):
    return np.stack([z[y == c].mean(axis=0) for c in range(C)])


def quadratic(z, mean, inverse):
    return np.array([(row - mean) @ inverse @ (row - mean) for row in z])


def plain_mahalanobis(z, out, y, head, new, new_out):
    means = class_means(z, y)
    inverse = shrunk_inverse(z - means[y])
    return np.min([quadratic(new, mean, inverse) for mean in means], axis=0)


def plain_relative(z, out, y, head, new, new_out):
    mean = z.mean(axis=0)
    background = quadratic(new, mean, shrunk_inverse(z - mean))
    return plain_mahalanobis(z, out, y, head, new, new_out) - background


def plain_residual(z, out, y, head, new, new_out):
    origin = -np.linalg.pinv(head.weight) @ head.bias
    axes = np.linalg.svd(z - origin, full_matrices=True)[2][6:]
    return np.linalg.norm((new - origin) @ axes.T, axis=1)


def plain_vim(z, out, y, head, new, new_out):
    own = plain_residual(z, out, y, head, z, out).mean()
    alpha = out.max(axis=1).mean() / own
    return alpha * plain_residual(z, out, y, head, new, new_out) - np.log(
        np.exp(new_out).sum(axis=1)
    )


def unit(z):
    return z / np.linalg.norm(z, axis=1, keepdims=True)


def plain_knn(z, out, y, head, new, new_out):
    found = NearestNeighbors(n_neighbors=12, algorithm="brute").fit(unit(z))
    return found.kneighbors(unit(new))[0][:, 11]


def plain_nnguide(z, out, y, head, new, new_out):
    bank = unit(z) * logsumexp(out, axis=1)[:, None]
    similarity = np.sort(unit(new) @ bank.T, axis=1)[:, -10:]
    return -logsumexp(new_out, axis=1) * similarity.mean(axis=1)


def plain_react(z, out, y, head, new, new_out):
    clipped = np.where(new > np.quantile(z, 0.9), np.quantile(z, 0.9), new)
    return -np.log(np.exp(clipped @ head.weight.T + head.bias).sum(axis=1))


def plain_she(z, out, y, head, new, new_out):
    right = out.argmax(axis=1) == y
    patterns = np.stack([z[right & (y == c)].mean(axis=0) for c in range(C)])
    return -(new * patterns[new_out.argmax(axis=1)]).sum(axis=1)


def plain_fdbd(z, out, y, head, new, new_out):
    scores = []
    for row, logit in zip(new, new_out, strict=True):
        top = logit.argmax()
        distances = [
            abs(logit[top] - logit[c]) / np.linalg.norm(head.weight[top] - head.weight[c])
            for c in range(C)
            if c != top
        ]
        scores.append(-np.mean(distances) / np.linalg.norm(row - z.mean(axis=0)))
    return np.array(scores)


PLAIN = {
    "mahalanobis": plain_mahalanobis,
    "relative_mahalanobis": plain_relative,
    "residual": plain_residual,
    "vim": plain_vim,
    "knn": plain_knn,
    "nnguide": plain_nnguide,
    "react": plain_react,
    "she": plain_she,
    "fdbd": plain_fdbd,
    "msp": lambda z, out, y, head, new, new_out: -softmax(new_out, axis=1).max(axis=1),
    "max_logit": lambda z, out, y, head, new, new_out: -new_out.max(axis=1),
    "energy": lambda z, out, y, head, new, new_out: -np.log(np.exp(new_out).sum(axis=1)),
    "gen": lambda z, out, y, head, new, new_out: np.sum(
        softmax(new_out, axis=1) ** 0.1 * (1 - softmax(new_out, axis=1)) ** 0.1, axis=1
    ),
}


def test_every_detector_has_a_plain_second_implementation():
    assert set(PLAIN) == set(DETECTORS)
    assert {name: kind.name for name, kind in DETECTORS.items()} == {name: name for name in PLAIN}


@pytest.mark.parametrize("name", sorted(PLAIN))
def test_a_detector_equals_its_plain_implementation(name, data):
    train, logits, labels, head, new, new_logits = data
    fitted = DETECTORS[name].fit(train, logits, labels, head, SETTINGS)
    scores = fitted.score(new, new_logits)
    assert scores.dtype == np.float64
    # The bank of neighbours is kept in half precision.
    tolerance = 2e-3 if name == "knn" else 1e-5 if name == "nnguide" else 1e-9
    np.testing.assert_allclose(scores, PLAIN[name](*data), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", sorted(PLAIN))
def test_a_detector_stored_as_arrays_scores_the_same(name, data, tmp_path):
    train, logits, labels, head, new, new_logits = data
    fitted = DETECTORS[name].fit(train, logits, labels, head, SETTINGS)
    np.savez(tmp_path / "arrays.npz", **fitted.to_arrays())
    with np.load(tmp_path / "arrays.npz", allow_pickle=False) as arrays:
        back = DETECTORS[name].from_arrays(arrays)
    np.testing.assert_array_equal(back.score(new, new_logits), fitted.score(new, new_logits))


@pytest.mark.parametrize("name", sorted(PLAIN))
def test_larger_means_more_out_of_distribution(name):
    rng = np.random.default_rng(0)
    labels = np.arange(400) % 2
    centres = np.zeros((2, 16))
    centres[0, :4], centres[1, 4:8] = 3.0, 3.0
    train = np.abs(centres[labels] + 0.3 * rng.normal(size=(400, 16)))
    head = Head(weight=centres, bias=np.zeros(2))
    far = np.abs(0.3 * rng.normal(size=(400, 16)))
    far[:, 8:12] += 2.0
    fitted = DETECTORS[name].fit(train[:200], head(train[:200]), labels[:200], head)
    inside, outside = (fitted.score(rows, head(rows)) for rows in (train[200:], far))
    assert roc_auc_score([0] * 200 + [1] * 400, np.r_[inside, outside]) > 0.9


def mixture(n, seed):
    """Two classes and an unseen third in 1,024 isotropic dimensions."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(3, 1024)) * 0.33
    labels = np.arange(n) % 2
    train = centres[labels] + rng.normal(size=(n, 1024))
    inside = centres[np.arange(500) % 2] + rng.normal(size=(500, 1024))
    outside = centres[2] + rng.normal(size=(500, 1024))
    return train, labels, np.r_[inside, outside], np.arange(1000) >= 500


def test_shrunk_mahalanobis_works_with_fewer_rows_than_dimensions_where_a_fixed_ridge_is_at_chance():
    train, labels, new, is_ood = mixture(200, 3)
    logits = np.zeros((200, 2))
    shrunk = Mahalanobis.fit(train, logits, labels).score(new, logits)
    assert roc_auc_score(is_ood, shrunk) >= 0.94
    # The usual recipe: a ridge of 1e-6 on the float32 scatter, whatever its scale.
    stats = FeatureStats.of(train, labels, 2)
    ridged = (stats.within + 1e-6 * np.eye(1024)).astype(np.float32)
    inverse = np.linalg.inv(ridged)
    gaps = [(new - mean).astype(np.float32) for mean in stats.means]
    fixed = np.min([np.einsum("nd,de,ne->n", gap, inverse, gap) for gap in gaps], axis=0)
    assert abs(roc_auc_score(is_ood, fixed) - 0.5) < 0.15


def test_statistics_merged_over_sites_give_the_detector_of_all_rows(data):
    train, logits, labels, _, new, new_logits = data
    parts = [FeatureStats.of(train[k::3], labels[k::3], C) for k in range(3)]
    merged = Mahalanobis.of(parts[0].merge(parts[1]).merge(parts[2]))
    whole = Mahalanobis.fit(train, logits, labels)
    np.testing.assert_allclose(merged.score(new, new_logits), whole.score(new, new_logits))


def test_absent_classes_and_unlabelled_rows_take_no_part(data):
    train, logits, labels, head, new, new_logits = data
    known = labels < 2
    hidden = np.where(known, labels, -1)
    for name in ("mahalanobis", "relative_mahalanobis"):
        part = DETECTORS[name].fit(train, logits, hidden, head)
        alone = DETECTORS[name].fit(train[known], logits[known], labels[known], head)
        np.testing.assert_allclose(part.score(new, new_logits), alone.score(new, new_logits))


def test_she_falls_back_where_a_class_has_no_correct_row(data):
    train, logits, labels, head, *_ = data
    wrong = np.where(labels == 1, 0, labels)  # nothing is labelled 1, so no row of it is correct
    patterns = DETECTORS["she"].fit(train, logits, wrong, head).to_arrays()["patterns"]
    np.testing.assert_allclose(patterns[1], train.mean(axis=0))
    never = np.zeros_like(logits)  # the model always says class 0
    patterns = DETECTORS["she"].fit(train, never, labels, head).to_arrays()["patterns"]
    np.testing.assert_allclose(patterns[2], train[labels == 2].mean(axis=0))


def test_the_residual_space_never_cuts_a_null_space_in_two():
    rng = np.random.default_rng(4)
    rows = rng.normal(size=(30, 8)) @ rng.normal(size=(8, 40))  # rank 8 in 40 dimensions
    fitted = Residual.fit(rows, np.zeros((30, 2)), np.zeros(30, dtype=int))
    assert fitted.basis.shape == (40, 40 - 8)
    np.testing.assert_allclose(fitted.score(rows, np.zeros((30, 2))), 0, atol=1e-6)


def test_constant_features_are_refused_with_a_remedy():
    with pytest.raises(InputError, match="do not vary"):
        Mahalanobis.fit(np.ones((20, 3)), np.zeros((20, 2)), np.zeros(20, dtype=int))


def test_a_linear_head_is_recovered_and_another_is_not(data):
    train, logits, _, head, new, _ = data
    found = recover_head(train, logits)
    assert found is not None
    np.testing.assert_allclose(found(new), head(new), atol=1e-8)
    assert recover_head(train, np.tanh(logits)) is None
    assert recover_head(train[: D - 2], logits[: D - 2]) is None  # too few rows to know


def test_thinning_keeps_every_class_and_its_proportion():
    labels = np.r_[np.zeros(9000), np.ones(990), np.full(10, 2)].astype(int)
    rows = thinned(labels, 1000, seed=0)
    np.testing.assert_array_equal(np.bincount(labels[rows]), [900, 99, 1])
    np.testing.assert_array_equal(rows, thinned(labels, 1000, seed=0))
    np.testing.assert_array_equal(thinned(labels[:50], 1000, seed=0), np.arange(50))


def test_what_a_detector_lacks_is_named(data):
    train, logits, labels, *_ = data
    for name in ("react", "fdbd"):
        with pytest.raises(InputError, match="linear head"):
            DETECTORS[name].fit(train, logits, labels)
    with pytest.raises(InputError, match="lacks basis"):
        DETECTORS["residual"].from_arrays({"origin": np.zeros(3)})
    with pytest.raises(InputError, match="no detector is named 'maha'"):
        DETECTORS.named("maha")
    with pytest.raises(ValueError, match="unknown detectors"):
        OodSettings(detectors=("maha",))

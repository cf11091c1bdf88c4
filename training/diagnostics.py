"""What embeddings look like: alignment, uniformity, collapse of classes, neural collapse.

Each value is a float, or None where it is undefined (a class is absent or has one item).
Embeddings are of a whole validation set; they are normalised where the text says so.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

_PAIRS = 2000  # rows beyond which pairwise measures look at evenly spaced rows


def alignment(embeddings: Tensor, labels: Tensor) -> float | None:
    """Return the mean squared distance of normalised pairs of one class; 0 = collapsed.

    Wang and Isola 2020, arXiv 2005.10242, equation 1 with alpha = 2, pairs by class.
    """
    z, y = _rows(embeddings, labels)
    same = torch.triu(y[:, None] == y[None, :], diagonal=1)
    return float((2 - 2 * (z @ z.T))[same].mean()) if same.any() else None


def uniformity(embeddings: Tensor) -> float | None:
    """Return log mean exp(-2 |z_i - z_j|^2) over normalised pairs; 0 = all in one point.

    Wang and Isola 2020, arXiv 2005.10242, equation 2 with t = 2; at least -8.
    """
    z, _ = _rows(embeddings, torch.zeros(len(embeddings), dtype=torch.int64))
    if len(z) < 2:
        return None
    pairs = torch.triu_indices(len(z), len(z), offset=1, device=z.device)
    exponent = -2 * (2 - 2 * (z @ z.T)[pairs[0], pairs[1]])
    return float(exponent.logsumexp(0) - math.log(pairs.shape[1]))


def class_spread(embeddings: Tensor, labels: Tensor, n_classes: int) -> list[float | None]:
    """Return 1 - |mean z|^2 of each class's normalised rows: 0 = collapsed to a point, 1 = spread.

    Under supervised contrast on imbalanced classes the majority collapses first (Mildenberger et
    al. 2025, arXiv 2503.17024). The measure is our construction.
    """
    z, y = _rows(embeddings, labels, most=None)
    return [
        float(1 - z[y == c].mean(0).square().sum()) if (y == c).sum() > 1 else None
        for c in range(n_classes)
    ]


def sample_alignment(embeddings: Tensor, items: Tensor) -> float | None:
    """Return the share of rows whose nearest other row is a view of the same item.

    Near 1 as long as items can be told apart; it falls as a class collapses. After the sample
    alignment accuracy of Mildenberger et al. 2025; the exact form is our construction.

    Parameters
    ----------
    items : Tensor
        N, int64: the item that a row is a view of. Items with one view are no anchors.
    """
    z, item = _rows(embeddings, items)
    views = (item[:, None] == item[None, :]).sum(dim=1) > 1
    return _nearest_agrees(z, item)[views].float().mean().item() if views.any() else None


def class_alignment(embeddings: Tensor, labels: Tensor, n_classes: int) -> list[float | None]:
    """Return for each class the share of its rows whose nearest other row is of that class.

    After the class alignment consistency of Mildenberger et al. 2025; the exact form is our
    construction.
    """
    z, y = _rows(embeddings, labels)
    agrees = _nearest_agrees(z, y) if len(z) > 1 else torch.zeros(len(z), dtype=torch.bool)
    return [
        agrees[y == c].float().mean().item() if (y == c).sum() > 1 else None
        for c in range(n_classes)
    ]


def neural_collapse(
    embeddings: Tensor, labels: Tensor, weight: Tensor | None = None
) -> dict[str, float | None]:
    """Return the measures of neural collapse NC1 to NC3 over the classes present.

    Papyan, Han and Donoho 2020, arXiv 2008.08186; all tend to 0 as features collapse. Embeddings
    are not normalised.

    Parameters
    ----------
    embeddings : Tensor
        N x E.
    labels : Tensor
        N, int64; -1 = unlabelled.
    weight : Tensor, optional
        C x E: rows of the classifier.

    Returns
    -------
    dict
        ``nc1``: tr(S_W pinv(S_B)) / C, spread within over between classes. ``nc2_norm``:
        coefficient of variation of the lengths of the centred class means. ``nc2_angle``: mean over
        pairs of |cos + 1 / (C - 1)|. ``nc3``: distance of the classifier's rows and the centred
        means, each of Frobenius norm 1. ``row_cosine``: highest cosine of two classifier rows; 1 =
        minority collapse (Fang et al. 2021, arXiv 2101.12699).
    """
    known = labels >= 0
    x, y = embeddings[known].double(), labels[known]
    present = torch.unique(y)
    n = len(present)
    nothing = dict.fromkeys(("nc1", "nc2_norm", "nc2_angle", "nc3", "row_cosine"))
    if n < 2:
        return nothing
    means = torch.stack([x[y == c].mean(0) for c in present])
    centred = means - means.mean(0)
    if centred.norm() <= 1e-12 * means.norm().clamp(min=1e-300):
        return nothing  # all means coincide: there is no direction to speak of
    within = x - means[torch.searchsorted(present, y)]
    # tr(S_W pinv(S_B)) by the thin factor of S_B: no E x E matrix is inverted.
    u, s, _ = torch.linalg.svd(centred.T / math.sqrt(n), full_matrices=False)
    kept = s > s[0] * 1e-10
    projected = within @ u[:, kept] / s[kept]
    length = centred.norm(dim=1)
    cosines = F.normalize(centred, dim=1) @ F.normalize(centred, dim=1).T
    off = ~torch.eye(n, dtype=torch.bool, device=x.device)
    result = nothing | {
        "nc1": float(projected.square().sum() / len(x) / n),
        "nc2_norm": float(length.std(correction=0) / length.mean()),
        "nc2_angle": float((cosines[off] + 1 / (n - 1)).abs().mean()),
    }
    if weight is not None and weight[present].any():
        rows = weight.detach().double()[present]
        result["nc3"] = float((rows / rows.norm() - centred / centred.norm()).norm())
        directions = F.normalize(rows, dim=1)
        result["row_cosine"] = float((directions @ directions.T)[off].max())
    return result


def _rows(embeddings: Tensor, labels: Tensor, most: int | None = _PAIRS) -> tuple[Tensor, Tensor]:
    """Return normalised labelled rows in float64, evenly thinned to ``most``."""
    known = labels >= 0
    z, y = F.normalize(embeddings[known].detach().double(), dim=1), labels[known]
    if most is not None and len(z) > most:
        kept = torch.linspace(0, len(z) - 1, most, dtype=torch.float64).round().long()
        z, y = z[kept], y[kept]
    return z, y


def _nearest_agrees(z: Tensor, keys: Tensor) -> Tensor:
    similarity = (z @ z.T).fill_diagonal_(-torch.inf)
    return keys[similarity.argmax(dim=1)] == keys

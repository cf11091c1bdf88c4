"""How the embeddings of a batch lie: whether classes gather, spread, or collapse.

All are logged and none is minimised. Rows of the same bag (its views) are told apart by ``bags``.
They are computed in float32 also under autocast: in bfloat16 a cosine of a collapsed class is off
by more than what is to be seen.
"""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec

import torch
import torch.nn.functional as F
from torch import Tensor

_Given = ParamSpec("_Given")


def _in_float32(
    measure: Callable[_Given, dict[str, Tensor]],
) -> Callable[_Given, dict[str, Tensor]]:
    @wraps(measure)
    def exactly(*given: _Given.args, **named: _Given.kwargs) -> dict[str, Tensor]:
        rows = given[0]
        assert isinstance(rows, Tensor)
        with torch.no_grad(), torch.autocast(rows.device.type, enabled=False):
            return measure(*given, **named)

    return exactly


@_in_float32
def contrast_diagnostics(
    z: Tensor, labels: Tensor, bags: Tensor, n_classes: int
) -> dict[str, Tensor]:
    """Return measures of the contrasted embeddings; NaN where one is undefined for the batch.

    ``alignment``: mean squared distance within a class; ``uniformity``: log of the mean of
    exp(-2 d^2) over all pairs (Wang & Isola 2020, arXiv 2005.10242, sections 4.1 and 4.2).
    ``collapse_<c>``: mean cosine between different bags of class c; 1 = the class is one point.
    ``sample_alignment``: share of rows that lie nearer to their bag's other view than to any other
    bag of their class; ``class_alignment``: share of rows that lie nearer, on average, to their
    class than to every other one. The last two follow the idea of SAA and CAC (Mildenberger et al.
    2025, arXiv 2503.17024); their exact form here is our construction. A class that collapses has
    high class alignment and low sample alignment.

    Parameters
    ----------
    z : Tensor
        B x P, projected embeddings.
    labels, bags : Tensor
        B, int64: class (>= 0), and which bag a row is a view of.
    """
    z = F.normalize(z.float(), dim=1)
    cosine = z @ z.T
    squared = (2 - 2 * cosine).clamp(min=0)
    other = ~torch.eye(len(z), dtype=torch.bool, device=z.device)
    same_class = (labels[:, None] == labels[None, :]) & other
    same_bag = (bags[:, None] == bags[None, :]) & other
    strangers = same_class & ~same_bag
    measures = {
        "alignment": squared[same_class].mean(),
        "uniformity": torch.exp(-2 * squared[other]).mean().log(),
        "sample_alignment": _sample_alignment(cosine, same_bag, strangers),
        "class_alignment": _class_alignment(cosine, labels, other, n_classes),
    }
    for c in range(n_classes):
        pairs = strangers & (labels == c)[:, None]
        measures[f"collapse_{c}"] = cosine[pairs].mean()
    return measures


def _sample_alignment(cosine: Tensor, same_bag: Tensor, strangers: Tensor) -> Tensor:
    judged = same_bag.any(dim=1) & strangers.any(dim=1)
    same = cosine.masked_fill(~same_bag, -torch.inf).amax(dim=1)
    others = cosine.masked_fill(~strangers, -torch.inf).amax(dim=1)
    return (same > others)[judged].float().mean()


def _class_alignment(cosine: Tensor, labels: Tensor, other: Tensor, n_classes: int) -> Tensor:
    member = F.one_hot(labels, n_classes).float()
    counts = other.float() @ member
    means = torch.where(counts > 0, (cosine * other) @ member / counts.clamp(min=1), -torch.inf)
    same = means.gather(1, labels[:, None])[:, 0]
    rival = means.scatter(1, labels[:, None], -torch.inf).amax(dim=1)
    judged = torch.isfinite(same) & torch.isfinite(rival)
    return (same > rival)[judged].float().mean()


@_in_float32
def neural_collapse(embeddings: Tensor, labels: Tensor, n_classes: int) -> dict[str, Tensor]:
    """Return two measures of neural collapse of bag embeddings (B x E); NaN where undefined.

    ``nc1``: trace of the scatter within classes over that between classes; falls to 0 as each class
    becomes a point. ``nc2``: mean deviation of the cosines between centred class means from -1 /
    (C - 1), those of a simplex. After Papyan, Han & Donoho 2020 (arXiv 2008.08186), NC1 with
    traces instead of a pseudo-inverse, for batches are small.
    """
    member = F.one_hot(labels, n_classes).float()
    counts = member.sum(dim=0)
    present = counts > 0
    undefined = embeddings.new_tensor(torch.nan, dtype=torch.float32)
    if int(present.sum()) < 2:
        return {"nc1": undefined, "nc2": undefined}
    rows = embeddings.float()
    means = (member.T @ rows) / counts.clamp(min=1)[:, None]
    within = ((rows - means[labels]) ** 2).sum(dim=1).mean()
    centred = means[present] - means[present].mean(dim=0)
    between = (centred**2).sum(dim=1).mean()
    directions = F.normalize(centred, dim=1)
    cosines = directions @ directions.T
    off = ~torch.eye(len(directions), dtype=torch.bool, device=rows.device)
    simplex = -1 / (len(directions) - 1)
    return {
        "nc1": within / between if between > 0 else undefined,
        "nc2": (cosines[off] - simplex).abs().mean(),
    }

"""What a sampler really draws: shares of the cells, repeats, effective sample size, prior."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from offsite.files import write_json
from offsite.training.losses.configured import ClassificationLoss
from offsite.training.samplers.plans import BatchPlan
from offsite.training.samplers.shares import cells_of

_NOTABLE = 0.05  # total variation between priors from which a correction counts as one
_LOOKED_AT = 20  # epochs of a run: they show every stage, and a large cohort costs seconds each


@dataclass(frozen=True)
class CellDraws:
    """Draws of one cell.

    Attributes
    ----------
    cell : str
        Its keys, joined by " x ".
    items : int
        Items of the cell that could be drawn.
    draws : float
        Mean draws an epoch.
    natural_share, drawn_share : float
        Share of the items and of the draws: the prior before and the prior imposed.
    most_repeats : int
        Most often that one item was drawn in one epoch.
    """

    cell: str
    items: int
    draws: float
    natural_share: float
    drawn_share: float
    most_repeats: int


@dataclass(frozen=True)
class DrawReport:
    """What a plan draws over the epochs looked at.

    Attributes
    ----------
    cells : tuple of CellDraws
    epochs : int
        Epochs looked at.
    effective_sample_size : float
        (sum m)^2 / sum m^2 over the draws m of each item in an epoch, mean over epochs: so many
        items drawn once carry as much.
    never_drawn : int
        Items that no epoch looked at drew.
    prior_shift : float
        Total variation between natural and drawn shares, in [0, 1].
    """

    cells: tuple[CellDraws, ...]
    epochs: int
    effective_sample_size: float
    never_drawn: int
    prior_shift: float

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        width = max(4, *(len(cell.cell) for cell in self.cells))
        head = f"{'cell':<{width}}  items  draws/epoch  natural  drawn  most repeats"
        rows = [
            f"{c.cell:<{width}}  {c.items:>5}  {c.draws:>11.1f}  {c.natural_share:>7.3f}"
            f"  {c.drawn_share:>5.3f}  {c.most_repeats:>12}"
            for c in self.cells
        ]
        tail = (
            f"effective sample size {self.effective_sample_size:.0f}; "
            f"{self.never_drawn} items never drawn in {self.epochs} epochs; "
            f"prior moved by {self.prior_shift:.3f} (total variation)"
        )
        return "\n".join([head, *rows, tail])


def draw_report(
    plan: BatchPlan, keys: Sequence[Any], epochs: int | Sequence[int] = 5
) -> DrawReport:
    """Look at what ``plan`` draws in some epochs.

    Parameters
    ----------
    plan : BatchPlan
        Of pairs, the anchors are counted.
    keys : sequence of arrays
        N each, such as ``[sites, labels]``; a number below 0 in one marks an item out of play.
    epochs : int or sequence of int
        The epochs to look at, or how many from the first on, >= 1. A progressive sampler or a
        second stage shows in epochs of the whole run alone.
    """
    looked_at = range(epochs) if isinstance(epochs, int) else epochs
    usable = np.all([_in_play(key) for key in keys], axis=0)
    cell, names = cells_of(*keys)
    n_items = len(cell)
    times = np.stack([_times(plan, epoch, n_items) for epoch in looked_at])
    drawn = np.stack([np.bincount(cell, weights=row, minlength=len(names)) for row in times])
    items = np.bincount(cell[usable], minlength=len(names))
    natural, imposed = items / items.sum(), drawn.sum(0) / drawn.sum()
    cells = tuple(
        CellDraws(
            cell=" x ".join(str(part) for part in name),
            items=int(items[k]),
            draws=float(drawn[:, k].mean()),
            natural_share=float(natural[k]),
            drawn_share=float(imposed[k]),
            most_repeats=int(times[:, cell == k].max()),
        )
        for k, name in enumerate(names)
        if items[k] or imposed[k]
    )
    return DrawReport(
        cells=cells,
        epochs=len(looked_at),
        effective_sample_size=float(np.mean(times.sum(1) ** 2 / (times**2).sum(1))),
        never_drawn=int((times[:, usable].sum(0) == 0).sum()),
        prior_shift=float(np.abs(natural - imposed).sum() / 2),
    )


def double_correction(report: DrawReport, class_weights: Any, adjusts_prior: bool) -> str | None:
    """Return a warning where sampler and loss both correct for imbalance, else None.

    Parameters
    ----------
    report : DrawReport
        Of the sampler, by class.
    class_weights : array or None
        Weights of the loss.
    adjusts_prior : bool
        Whether the loss shifts logits by the class counts (balanced softmax, logit adjustment,
        LDAM).
    """
    weighted = class_weights is not None and not np.allclose(
        np.asarray(class_weights), np.mean(np.asarray(class_weights)), rtol=0.01
    )
    if report.prior_shift < _NOTABLE or not (weighted or adjusts_prior):
        return None
    loss = "weights classes" if weighted else "shifts the logits by class counts"
    return (
        f"the sampler already moves the class prior by {report.prior_shift:.2f} (total variation) "
        f"and the loss {loss} as well: rare classes are corrected for twice. "
        "Use plain cross-entropy with this sampler, or random batches with this loss"
    )


def write_draws(
    folder: str | Path,
    plan: BatchPlan,
    names: Sequence[Any],
    loss: ClassificationLoss | None,
    epochs: int,
) -> str | None:
    """Write ``draws.json`` of a run: what its batches draw of each class, and any warning.

    Parameters
    ----------
    names : sequence of str
        Class name of each item that can be drawn.
    loss : ClassificationLoss or None
        The classifier's loss, where it is one of the settings'.
    epochs : int
        Of the run; at most twenty of them, spread evenly, are looked at.

    Returns
    -------
    str or None
        The warning, where sampler and loss both correct for imbalance.
    """
    looked_at = np.linspace(0, epochs - 1, min(epochs, _LOOKED_AT)).round().astype(int)
    report = draw_report(plan, [np.asarray(names)], looked_at.tolist())
    warning = None
    if loss is not None:
        weights = None if loss.class_weights is None else loss.class_weights.cpu().numpy()
        warning = double_correction(report, weights, loss.adjusts_prior)
    write_json(Path(folder) / "draws.json", {**report.as_dict(), "warning": warning})
    return warning


def _in_play(key: Any) -> np.ndarray:
    values = np.asarray(key)
    return values >= 0 if values.dtype.kind in "if" else np.ones(len(values), dtype=bool)


def _times(plan: BatchPlan, epoch: int, n_items: int) -> np.ndarray:
    drawn = [batch if batch.ndim == 1 else batch[:, 0] for batch in plan.batches(epoch)]
    return np.bincount(np.concatenate(drawn), minlength=n_items)

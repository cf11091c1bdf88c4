"""SWAD: the mean of the weights of every step inside the valley of the validation loss."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from offsite.training.fit.averaging import NoAverage
from offsite.training.fit.checkpoint import part

_NEVER = float("inf")


def valley(
    losses: Sequence[float], converged: int, patience: int, tolerance: float
) -> tuple[int, int, bool] | None:
    """Return where the valley of a loss curve starts and stops, and whether it is closed.

    Cha et al. 2021, arXiv 2102.08604, algorithm 1, with an epoch as the interval between two
    validations. It starts at the first epoch that none of the ``converged - 1`` epochs after it
    undercuts; (1 + ``tolerance``) times the mean loss of these epochs is the threshold. It stops
    before the first of ``patience`` epochs on end that lie above the threshold, or with the curve.

    Returns
    -------
    tuple or None
        (start, stop, closed), ``stop`` exclusive; None where no valley has begun.

    Examples
    --------
    >>> valley([9.0, 3.0, 4.0, 3.0, 9.0, 9.0, 9.0], converged=3, patience=2, tolerance=0.3)
    (1, 4, True)
    """
    for start in range(len(losses) - converged + 1):
        window = losses[start : start + converged]
        if window[0] == min(window) < _NEVER:
            break
    else:
        return None
    finite = [loss for loss in window if loss < _NEVER]
    threshold = (1 + tolerance) * sum(finite) / len(finite)
    for stop in range(start + 1, len(losses)):
        ahead = losses[stop : stop + patience]
        if min(ahead) > threshold:
            return start, stop, len(ahead) == patience
    return start, len(losses), False


class ValleyAverage(NoAverage):
    """Keeps what the mean over the valley may yet need: at most a few epochs' means.

    If no valley begins, the run ends with the selected epoch's raw weights. An epoch whose loss is
    undefined counts as infinitely bad, and so do the first ``passed_over`` epochs, whose weights
    may not be selected: no valley begins in them, and none of their steps is summed.
    """

    def __init__(
        self, score: str, converged: int, patience: int, tolerance: float, passed_over: int = 0
    ) -> None:
        self.score, self.converged, self.patience = score, converged, patience
        self.tolerance, self.passed_over = tolerance, passed_over
        self.losses: list[float] = []
        self.steps: list[int] = []
        self.pending: dict[int, dict[str, Tensor]] = {}  # epoch -> sum over its steps
        self.taken: dict[str, Tensor] = {}  # sum over the steps of the epochs surely in the valley
        self.taken_steps = 0
        self.current: dict[str, Tensor] = {}
        self.current_steps = 0
        self.closed = False

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Add the weights of a step to the epoch's sum."""
        if not self.closed and len(self.losses) >= self.passed_over:
            self.current = _plus(self.current, module.state_dict())
            self.current_steps += 1

    @torch.no_grad()
    def close_epoch(self, scores: Mapping[str, float | None]) -> None:
        """Decide with the epoch's loss which epochs are in the valley."""
        if self.closed:
            return
        loss = scores.get(self.score) if len(self.losses) >= self.passed_over else None
        self.pending[len(self.losses)] = self.current
        self.losses.append(_NEVER if loss is None else loss)
        self.steps.append(self.current_steps)
        self.current, self.current_steps = {}, 0
        span = self._span()
        start = span[0] if span else len(self.losses) - self.converged + 1
        stop = span[1] if span else start
        self.closed = span is not None and span[2]
        known = len(self.losses) - self.patience  # epochs whose whole look-ahead is known
        for epoch in sorted(self.pending):
            inside = start <= epoch < stop and epoch <= known
            if inside:
                self.taken = _plus(self.taken, self.pending[epoch])
                self.taken_steps += self.steps[epoch]
            if inside or epoch < start or self.closed:
                del self.pending[epoch]

    def _span(self) -> tuple[int, int, bool] | None:
        return valley(self.losses, self.converged, self.patience, self.tolerance)

    @torch.no_grad()
    def final(self) -> dict[str, Tensor] | None:
        """Return the mean over the valley; the end of training closes an open one."""
        span = self._span()
        if span is None:
            return None
        total, steps = self.taken, self.taken_steps
        for epoch, segment in self.pending.items():
            if span[0] <= epoch < span[1]:
                total, steps = _plus(total, segment), steps + self.steps[epoch]
        return {n: t / steps if t.is_floating_point() else t for n, t in total.items()}

    def missing(self) -> str:
        """Return that no valley began, if so: the run then ends with the weights of plain training."""
        if self._span() is not None:
            return ""
        return (
            f"SWAD found no valley in {len(self.losses)} epochs (none whose {self.score} stayed the lowest for"
            f" {self.converged}), so the run ends as it would without it: more epochs or a lower swad_converged"
            " may give one"
        )

    def tensors(self) -> dict[str, Tensor]:
        """Return the sums."""
        groups = {"current": self.current, "taken": self.taken}
        groups |= {f"epoch{epoch}": segment for epoch, segment in self.pending.items()}
        return {f"{group}.{n}": t for group, named in groups.items() for n, t in named.items()}

    def facts(self) -> dict[str, Any]:
        """Return losses and counts."""
        return {
            "losses": [None if loss == _NEVER else loss for loss in self.losses],
            "steps": self.steps,
            "pending": sorted(self.pending),
            "taken_steps": self.taken_steps,
            "current_steps": self.current_steps,
            "closed": self.closed,
        }

    def load(self, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """Put back a state."""
        self.losses = [_NEVER if loss is None else loss for loss in facts["losses"]]
        self.steps = list(facts["steps"])
        self.pending = {epoch: part(tensors, f"epoch{epoch}") for epoch in facts["pending"]}
        self.taken, self.current = part(tensors, "taken"), part(tensors, "current")
        self.taken_steps, self.current_steps = facts["taken_steps"], facts["current_steps"]
        self.closed = facts["closed"]


def _plus(total: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Add floating tensors in float64 (float32 where the device has none); take the last others."""
    return {
        name: total[name] + tensor.detach()
        if total and tensor.is_floating_point()
        else _wide(tensor.detach())
        for name, tensor in state.items()
    }


def _wide(tensor: Tensor) -> Tensor:
    if not tensor.is_floating_point() or tensor.device.type == "mps":
        return tensor.clone()
    return tensor.to(torch.float64, copy=True)

"""Averages of the weights over training: exponential moving average and SWAD.

Both average parameters and floating-point buffers (batch-norm statistics among them), so an
average can be used without a pass over the data. Integer buffers are copied.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from training.checkpoint import part
from training.fit_settings import FitSettings


class WeightAverage(Protocol):
    """An average that follows a module through training."""

    def update(self, module: nn.Module) -> None:
        """Take in the weights after a step."""

    def validated(self) -> dict[str, Tensor] | None:
        """Return the weights to validate at the end of an epoch; None = the raw ones."""

    def close_epoch(self, scores: Mapping[str, float | None]) -> None:
        """Take in the validation scores of an epoch."""

    def final(self) -> dict[str, Tensor] | None:
        """Return the weights that the run ends with; None = the selected epoch's."""

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors of the state."""

    def facts(self) -> dict[str, Any]:
        """Return the rest of the state, JSON-able."""

    def load(self, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """Put back a state."""


def weight_average(settings: FitSettings) -> WeightAverage:
    """Return the average that the settings ask for."""
    if settings.averaging == "ema":
        return ExponentialAverage(settings.ema_decay)
    if settings.averaging == "swad":
        return ValleyAverage(
            settings.swad_by,
            settings.swad_converged,
            settings.swad_patience,
            settings.swad_tolerance,
        )
    return NoAverage()


@contextmanager
def holding(module: nn.Module, weights: Mapping[str, Tensor] | None) -> Iterator[None]:
    """Let a module hold other weights for a while; None changes nothing."""
    if weights is None:
        yield
        return
    own = {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}
    _copy(module, weights)
    try:
        yield
    finally:
        _copy(module, own)


class NoAverage:
    """The raw weights."""

    def update(self, module: nn.Module) -> None:
        """Do nothing."""

    def validated(self) -> None:
        """Return None: the raw weights are validated."""

    def close_epoch(self, scores: Mapping[str, float | None]) -> None:
        """Do nothing."""

    def final(self) -> None:
        """Return None: the selected epoch's weights are kept."""

    def tensors(self) -> dict[str, Tensor]:
        """Return nothing."""
        return {}

    def facts(self) -> dict[str, Any]:
        """Return nothing."""
        return {}

    def load(self, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """Do nothing."""


class ExponentialAverage:
    """Moving average: a <- d a + (1 - d) w with d = min(decay, (1 + t) / (10 + t)) at step t.

    The small early d lets a short run forget its start (the warm-up usual with such averages).
    """

    def __init__(self, decay: float) -> None:
        self.decay = decay
        self.steps = 0
        self.average: dict[str, Tensor] = {}

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Move the average towards the module's weights."""
        state = module.state_dict()
        if not self.average:
            self.average = {name: t.detach().clone() for name, t in state.items()}
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        self.steps += 1
        floating = [name for name, t in state.items() if t.is_floating_point()]
        torch._foreach_lerp_(
            [self.average[name] for name in floating],
            [state[name].detach() for name in floating],
            1 - decay,
        )
        for name in state.keys() - set(floating):
            self.average[name].copy_(state[name])

    def validated(self) -> dict[str, Tensor]:
        """Return the average."""
        return self.average

    def close_epoch(self, scores: Mapping[str, float | None]) -> None:
        """Do nothing."""

    def final(self) -> None:
        """Return None: the average of the selected epoch is kept."""

    def tensors(self) -> dict[str, Tensor]:
        """Return the average."""
        return dict(self.average)

    def facts(self) -> dict[str, Any]:
        """Return the number of steps taken in."""
        return {"steps": self.steps}

    def load(self, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """Put back a state."""
        self.average = {name: tensor.clone() for name, tensor in tensors.items()}
        self.steps = int(facts["steps"])


class ValleyAverage:
    """SWAD: the mean of the weights of every step inside the valley of the validation loss.

    Cha et al. 2021, arXiv 2102.08604, algorithm 1, with an epoch as the interval between two
    validations. The valley opens at the epoch whose loss is not undercut by the ``converged - 1``
    epochs after it. The tolerance is (1 + ``tolerance``) times the mean loss of those epochs, and
    the valley closes when ``patience`` epochs on end lie above it; these are left out.
    If it never opens, the run ends with the selected epoch's raw weights.
    """

    def __init__(self, score: str, converged: int, patience: int, tolerance: float) -> None:
        self.score = score
        self.converged = converged
        self.patience = patience
        self.tolerance = tolerance
        self.segments: list[dict[str, Tensor]] = []  # sums over the steps of an epoch
        self.losses: list[float] = []
        self.steps: list[int] = []
        self.current: dict[str, Tensor] = {}
        self.current_steps = 0
        self.valley: dict[str, Tensor] = {}
        self.valley_steps = 0
        self.threshold: float | None = None
        self.closed = False

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Add the weights of a step to the epoch's sum."""
        if self.closed:
            return
        self.current = _plus(self.current, module.state_dict())
        self.current_steps += 1

    def validated(self) -> None:
        """Return None: SWAD watches the loss of the raw weights."""

    @torch.no_grad()
    def close_epoch(self, scores: Mapping[str, float | None]) -> None:
        """Decide with the epoch's loss whether the valley opens, goes on or closes."""
        loss = scores.get(self.score)
        if self.closed or not self.current:
            return
        self.segments.append(self.current)
        self.steps.append(self.current_steps)
        self.losses.append(float("inf") if loss is None else loss)
        self.current, self.current_steps = {}, 0
        if self.threshold is None:
            self._try_to_open()
        elif min(self.losses) > self.threshold and len(self.losses) == self.patience:
            self.closed = True
            self.segments, self.losses, self.steps = [], [], []
        elif len(self.losses) == self.patience:
            self._take_oldest()

    def _try_to_open(self) -> None:
        if len(self.losses) < self.converged:
            return
        if self.losses[0] == min(self.losses) < float("inf"):
            finite = [loss for loss in self.losses if loss < float("inf")]
            self.threshold = (1 + self.tolerance) * sum(finite) / len(finite)
            while len(self.losses) >= self.patience:
                self._take_oldest()
        else:
            self.segments.pop(0)
            self.losses.pop(0)
            self.steps.pop(0)

    def _take_oldest(self) -> None:
        self.valley = _plus(self.valley, self.segments.pop(0))
        self.valley_steps += self.steps.pop(0)
        self.losses.pop(0)

    @torch.no_grad()
    def final(self) -> dict[str, Tensor] | None:
        """Return the mean over the valley; an end of training closes an open valley."""
        if self.threshold is None:
            return None
        total, steps = self.valley, self.valley_steps
        for segment, count, loss in zip(self.segments, self.steps, self.losses, strict=True):
            if loss <= self.threshold or any(
                later <= self.threshold for later in self.losses[self.losses.index(loss) :]
            ):
                total, steps = _plus(total, segment), steps + count
        return {
            name: (t / steps).to(torch.float32) if t.is_floating_point() else t
            for name, t in total.items()
        }

    def tensors(self) -> dict[str, Tensor]:
        """Return the sums."""
        groups = {"current": self.current, "valley": self.valley}
        groups |= {f"segment{i}": segment for i, segment in enumerate(self.segments)}
        return {f"{group}.{n}": t for group, named in groups.items() for n, t in named.items()}

    def facts(self) -> dict[str, Any]:
        """Return losses and counts."""
        return {
            "losses": [None if loss == float("inf") else loss for loss in self.losses],
            "steps": self.steps,
            "current_steps": self.current_steps,
            "valley_steps": self.valley_steps,
            "threshold": self.threshold,
            "closed": self.closed,
        }

    def load(self, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """Put back a state."""
        self.current = part(tensors, "current")
        self.valley = part(tensors, "valley")
        self.segments = [part(tensors, f"segment{i}") for i in range(len(facts["steps"]))]
        self.losses = [float("inf") if loss is None else loss for loss in facts["losses"]]
        self.steps = list(facts["steps"])
        self.current_steps = facts["current_steps"]
        self.valley_steps = facts["valley_steps"]
        self.threshold = facts["threshold"]
        self.closed = facts["closed"]


def _plus(total: dict[str, Tensor], state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Add floating tensors in float64 (float32 where the device has none); take the last others."""
    if not total:
        return {name: _wide(tensor.detach()) for name, tensor in state.items()}
    return {
        name: total[name] + tensor.detach() if tensor.is_floating_point() else tensor.clone()
        for name, tensor in state.items()
    }


def _wide(tensor: Tensor) -> Tensor:
    if not tensor.is_floating_point() or tensor.device.type == "mps":
        return tensor.clone()
    return tensor.to(torch.float64, copy=True)


@torch.no_grad()
def _copy(module: nn.Module, weights: Mapping[str, Tensor]) -> None:
    for name, tensor in module.state_dict().items():
        tensor.copy_(weights[name])

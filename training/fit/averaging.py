"""Averages of the weights over training, named by the settings and unknown to the algorithms.

They average parameters and floating-point buffers (batch-norm statistics among them), so an
average can be used without a pass over the data. Integer buffers are copied.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor, nn


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

    def missing(self) -> str:
        """Return why `final` has no mean although one is asked for; empty where that is not so."""

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors of the state."""

    def facts(self) -> dict[str, Any]:
        """Return the rest of the state, JSON-able."""

    def load(self, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """Put back a state."""


@contextmanager
def holding(module: nn.Module, weights: Mapping[str, Tensor] | None) -> Iterator[None]:
    """Let a module hold other weights for a while; None changes nothing."""
    if weights is None:
        yield
        return
    trained = {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}
    _copy(module, weights)
    try:
        yield
    finally:
        _copy(module, trained)


@torch.no_grad()
def _copy(module: nn.Module, weights: Mapping[str, Tensor]) -> None:
    for name, tensor in module.state_dict().items():
        tensor.copy_(weights[name])


class NoAverage:
    """The raw weights; the base of averages that leave some of the protocol alone."""

    def update(self, module: nn.Module) -> None:
        """Take in the weights after a step: nothing to do."""

    def validated(self) -> dict[str, Tensor] | None:
        """Return None: the raw weights are validated."""
        return None

    def close_epoch(self, scores: Mapping[str, float | None]) -> None:
        """Take in the scores of an epoch: nothing to do."""

    def final(self) -> dict[str, Tensor] | None:
        """Return None: what was validated in the selected epoch is kept."""
        return None

    def missing(self) -> str:
        """Return an empty text: no mean of several epochs is asked for."""
        return ""

    def tensors(self) -> dict[str, Tensor]:
        """Return nothing."""
        return {}

    def facts(self) -> dict[str, Any]:
        """Return nothing."""
        return {}

    def load(self, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """Put back a state: there is none."""


class ExponentialAverage(NoAverage):
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

    def validated(self) -> dict[str, Tensor] | None:
        """Return the average."""
        return self.average

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

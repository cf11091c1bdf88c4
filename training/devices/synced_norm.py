"""Batch normalisation over the global batch, on any device.

PyTorch's `SyncBatchNorm` does the same on GPUs alone.
"""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from offsite.training.devices import distributed


def synchronise_norms(module: nn.Module, device: torch.device) -> None:
    """Let the batch norms inside a module see the batches of all processes, in place.

    Names and weights stay as they are; alone, and in evaluation, nothing is different.
    """
    for name, child in module.named_children():
        if not isinstance(child, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d):
            synchronise_norms(child, device)
        elif device.type == "cuda":
            setattr(module, name, nn.SyncBatchNorm.convert_sync_batchnorm(child))
        else:
            setattr(module, name, SyncedBatchNorm.of(child))


class SyncedBatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch norm of any rank of input whose mean and variance are those of the global batch.

    The mean is summed over processes before the squares are, so that a large mean costs no digits.
    """

    @classmethod
    def of(cls, norm: nn.modules.batchnorm._BatchNorm) -> "SyncedBatchNorm":
        """Return a twin of a batch norm that shares its parameters and buffers."""
        twin = cls(
            norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats
        )
        for name in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
            setattr(twin, name, getattr(norm, name))
        return twin.train(norm.training)

    def _check_input_dim(self, input: Tensor) -> None:
        if input.ndim < 2:
            raise ValueError(f"batch norm needs B x C x ..., not {input.ndim} axes")

    def forward(self, input: Tensor) -> Tensor:
        """Return the normalised input (B x C x ...)."""
        if not self.training or distributed.rank_and_world()[1] == 1:
            return super().forward(input)
        self._check_input_dim(input)
        wide = input.float()
        axes = [axis for axis in range(input.ndim) if axis != 1]
        shape = [1, -1] + [1] * (input.ndim - 2)
        count = distributed.sum_over_ranks(wide.new_tensor(float(wide[:, 0].numel())))
        mean = _Summed.apply(wide.sum(axes)) / count
        centred = wide - mean.view(shape)
        variance = _Summed.apply(centred.square().sum(axes)) / count
        self._follow(mean.detach(), variance.detach() * count / (count - 1).clamp(min=1))
        out = centred * torch.rsqrt(variance + self.eps).view(shape)
        if self.affine:
            out = out * self.weight.view(shape) + self.bias.view(shape)
        return out.to(input.dtype)

    @torch.no_grad()
    def _follow(self, mean: Tensor, variance: Tensor) -> None:
        """Move the running statistics, as `torch.nn.BatchNorm2d` does."""
        if self.running_mean is None or self.running_var is None:
            return
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        step = self.momentum if self.momentum is not None else 1 / float(self.num_batches_tracked)
        self.running_mean.lerp_(mean, step)
        self.running_var.lerp_(variance, step)


class _Summed(torch.autograd.Function):
    """The sum over processes; in backward the sum of their gradients."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        return distributed.sum_over_ranks(values)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].contiguous().clone()
        dist.all_reduce(total)
        return total

"""One training step on any device and any number of processes, by Lightning Fabric."""

import os
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn, optim

from offsite.errors import InputError
from offsite.training.algorithm import Algorithm
from offsite.training.devices import distributed
from offsite.training.devices.synced_norm import synchronise_norms
from offsite.training.fit.settings import FitSettings
from offsite.training.randomness import seed_of
from offsite.training.read_ahead import read_ahead

if TYPE_CHECKING:
    from lightning_fabric import Fabric


class Engine:
    """Device, precision, optimiser and gradient exchange; under ``torchrun`` one of many ranks.

    Gradients are those of the mean over the *global* batch, whatever the shards' sizes: each
    rank's loss is weighted by its share of the items before DDP averages. Batch norms normalise
    over the global batch.
    """

    def __init__(self, algorithm: Algorithm, settings: FitSettings) -> None:
        self.settings = settings
        fabric = _fabric(settings)
        fabric.launch()
        self.rank, self.world = distributed.rank_and_world()
        if self.world > 1:
            synchronise_norms(algorithm, fabric.device)
        named = [(name, p) for name, p in algorithm.named_parameters() if p.requires_grad]
        self.parameters = [parameter for _, parameter in named]
        self.optimiser = _optimiser(_by_rate(algorithm, named), settings)
        self.stepper = fabric.setup_module(_Stepper(algorithm))
        self.fabric = fabric
        self.device: torch.device = fabric.device
        if self.device.type == "cuda":  # a resumed run must meet the same kernels
            torch.backends.cudnn.deterministic = True

    def step(
        self, batch: Any, progress: float, epoch: int, step: int
    ) -> tuple[dict[str, Tensor], int]:
        """Do one step; return its losses by name and the number of items on this rank."""
        _seed_torch(seed_of(self.settings.seed, epoch, step, self.rank), self.device)
        for group in self.optimiser.param_groups:
            group["lr"] = self.settings.learning_rate_at(progress) * group["rate"]
        items = len(batch)
        losses = self.stepper(_Sealed(batch.to(self.device)), progress)
        self.optimiser.zero_grad(set_to_none=True)
        self.fabric.backward(losses["loss"] * self._share(items))
        if self.settings.gradient_clip:
            nn.utils.clip_grad_norm_(self.parameters, self.settings.gradient_clip)
        self.optimiser.step()
        return losses, items

    def _share(self, items: int) -> Tensor | float:
        if self.world == 1:
            return 1.0
        mine = torch.tensor(float(items), device=self.device)
        return mine * self.world / distributed.sum_over_ranks(mine)

    def ahead(self, batches: Iterable[Any]) -> Iterator[Any]:
        """Return the batches, read by a thread up to ``prefetch`` of them ahead."""
        depth = self.settings.prefetch
        return read_ahead(batches, depth) if depth else iter(batches)


class _Sealed:
    """Keeps Fabric and DDP from walking into a batch: frozen dataclasses make them fail."""

    def __init__(self, batch: Any) -> None:
        self.batch = batch


class _Stepper(nn.Module):
    """Makes `Algorithm.step` the forward pass, which DDP and autocast act on."""

    def __init__(self, algorithm: Algorithm) -> None:
        super().__init__()
        self.algorithm = algorithm

    def forward(self, sealed: _Sealed, progress: float) -> dict[str, Tensor]:
        return self.algorithm.step(sealed.batch, progress)


def _seed_torch(seed: int, device: torch.device) -> None:
    """Seed the generators of the CPU and of ``device``.

    `torch.manual_seed` seeds those of every kind of device; each that is not there keeps the call,
    with a stack trace, for later: 0.3 ms and some memory at every step.
    """
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
    elif device.type == "mps":
        torch.mps.manual_seed(seed)


def _by_rate(algorithm: Algorithm, named: list[tuple[str, nn.Parameter]]) -> list[dict[str, Any]]:
    """The parameters in groups of one factor of the learning rate, the fastest first."""
    groups: dict[float, list[nn.Parameter]] = {}
    for name, parameter in named:
        groups.setdefault(algorithm.rate_of(name), []).append(parameter)
    return [{"params": groups[rate], "rate": rate} for rate in sorted(groups, reverse=True)]


def _optimiser(parameters: list[dict[str, Any]], settings: FitSettings) -> optim.Optimizer:
    if settings.optimiser == "adamw":
        return optim.AdamW(
            parameters, lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
    return optim.SGD(
        parameters,
        lr=settings.learning_rate,
        weight_decay=settings.weight_decay,
        momentum=settings.momentum,
        nesterov=settings.momentum > 0,
    )


def _fabric(settings: FitSettings) -> "Fabric":
    from lightning_fabric import Fabric
    from lightning_fabric.plugins.environments import LightningEnvironment, TorchElasticEnvironment
    from lightning_fabric.strategies import DDPStrategy

    world = int(os.environ.get("WORLD_SIZE", "1"))
    local = int(os.environ.get("LOCAL_WORLD_SIZE", str(world)))
    accelerator, _, index = settings.device.partition(":")
    if accelerator == "auto":
        accelerator = "cuda" if torch.cuda.is_available() else "cpu"
    available = {"cpu": True, "cuda": torch.cuda.is_available()}
    if not available.get(accelerator, torch.backends.mps.is_available()):
        raise InputError(
            f"this machine has no device '{settings.device}'",
            remedy="Set device to auto or cpu",
            code="unknown_device",
        )
    if index and world > 1:
        raise InputError(
            f"device '{settings.device}' names one device, but {world} processes train",
            remedy="Set device to cuda; each process takes the device of its local rank",
            code="unknown_device",
        )
    # Unused parameters are legal: a warm-up may leave out a head.
    strategy = DDPStrategy(find_unused_parameters=True) if world > 1 else "auto"
    # Named, because Fabric would take a job of one task in a SLURM allocation for a part of many.
    environment = TorchElasticEnvironment() if world > 1 else LightningEnvironment()
    return Fabric(
        plugins=[environment],
        accelerator=accelerator,
        devices=[int(index)] if index else local,
        num_nodes=max(1, world // local),
        strategy=strategy,
        precision="bf16-mixed" if settings.precision == "bfloat16" else "32-true",
    )

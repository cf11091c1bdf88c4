"""What several processes share: shards of a batch, gathered rows with gradients, sums.

Outside a process group every function is the identity, so the same code serves one process.

A global batch is dealt out like cards: rank ``r`` of ``world`` gets items ``r, r + world, ...``.
`gather` puts the rows back in that order, so a loss on gathered rows is the one-process loss to
the last item, and draws made for the global batch (`draw_together`) fall on the same items.
"""

import json
import os
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar, cast

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

Items = TypeVar("Items", np.ndarray, Tensor)
Made = TypeVar("Made")

# While rank 0 packs features, validates or predicts, the others wait; on a large cohort for longer
# than the half hour that is usual. A process that dies is noticed at once by torchrun all the same.
_LONGEST_WAIT = timedelta(days=1)


def rank_and_world() -> tuple[int, int]:
    """Return this process's rank and the number of processes; (0, 1) outside a group."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def join(device: str = "auto") -> None:
    """Join the processes that ``torchrun`` started; alone, do nothing.

    To be called before anything is decided that one process decides for all, such as whether a run
    folder is stale. Each process takes the GPU of its local rank, before NCCL takes one for it.

    Parameters
    ----------
    device : str
        Where the run computes (`FitSettings.device`).
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or dist.is_initialized():
        return
    backend = backend_for(device, cuda=torch.cuda.is_available())
    if backend != "gloo":
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    dist.init_process_group(backend, timeout=_LONGEST_WAIT)


def backend_for(device: str, *, cuda: bool) -> str:
    """Return what moves the tensors of a run on ``device``, on a machine with or without CUDA.

    On GPUs there are two: NCCL for tensors there, gloo for the few that processes agree by, which
    stay on the CPU and so may be waited for without NCCL's watch.

    Examples
    --------
    >>> backend_for("cpu", cuda=True), backend_for("auto", cuda=True)
    ('gloo', 'cpu:gloo,cuda:nccl')
    """
    on_gpus = cuda and device.partition(":")[0] in ("auto", "cuda")
    return "cpu:gloo,cuda:nccl" if on_gpus else "gloo"


def shard(items: Items) -> Items:
    """Return this rank's items of a global batch (first axis)."""
    rank, world = rank_and_world()
    return items[rank::world]


def gather(rows: Tensor, together: int = 1) -> Tensor:
    """Return the rows of all ranks in the order of the global batch, with gradients.

    Parameters
    ----------
    rows : Tensor
        n_r x ..., this rank's rows; n_r may differ between ranks, the other axes may not.
    together : int
        Neighbouring rows that are of one item, as its views are.

    Returns
    -------
    Tensor
        n x ..., equal on every rank. In backward each rank receives, for its rows, the sum of
        the gradients of all ranks; divided by the world size, as DDP does, this is the gradient of
        the one-process loss.
    """
    if rank_and_world()[1] == 1:
        return rows
    return cast(Tensor, _Gather.apply(rows, together))


def draw_together(draw: Callable[[int], Tensor], n_local: int, together: int = 1) -> Tensor:
    """Return this rank's share of random numbers drawn once for the global batch.

    ``draw(n)`` gives n rows; ``together`` neighbouring ones are of one item. Rank 0 draws; called
    before any other use of torch's generator in a step, the numbers are those of the one-process
    run.
    """
    rank, world = rank_and_world()
    if world == 1:
        return draw(n_local)
    counts = _counts(n_local, _device())
    drawn = draw(sum(counts))
    # NCCL alone moves none of the CPU, gloo no strided one.
    shared = drawn.to(_device(drawn.device)).contiguous()
    dist.broadcast(shared, src=0)
    start = sum(counts[:rank])
    mine = _order(counts, shared.device, together)[start : start + n_local]
    return shared[mine].to(drawn.device)


def sum_over_ranks(values: Tensor) -> Tensor:
    """Return the sum over ranks, without gradient."""
    total = values.detach().clone()
    if rank_and_world()[1] > 1:
        dist.all_reduce(total)
    return total


def sums_over_ranks(values: list[float]) -> list[float]:
    """Return the sums over ranks of some plain numbers, in float64."""
    if rank_and_world()[1] == 1:
        return values
    total = torch.tensor(values, dtype=torch.float64, device=_device())
    dist.all_reduce(total)
    return [float(value) for value in total.tolist()]


def from_rank_zero(value: Any) -> Any:
    """Return rank 0's JSON-able value on every rank."""
    rank, world = rank_and_world()
    if world == 1:
        return value
    device = _device()
    data = json.dumps(value).encode() if rank == 0 else b""
    size = torch.tensor([len(data)], device=device)
    dist.broadcast(size, src=0)
    text = torch.zeros(int(size), dtype=torch.uint8, device=device)
    if rank == 0:
        text.copy_(torch.frombuffer(bytearray(data), dtype=torch.uint8))
    dist.broadcast(text, src=0)
    return json.loads(bytes(text.cpu().numpy()).decode())


def wait_for_all() -> None:
    """Return once every rank has come here."""
    if rank_and_world()[1] > 1:
        dist.barrier()


def rank_zero_first(make: Callable[[], Made]) -> Made:
    """Return what ``make`` makes; the other ranks begin once rank 0 has left it on disk for them."""
    first = rank_and_world()[0] == 0
    made = make() if first else None
    wait_for_all()
    return cast(Made, made) if first else make()


def _device(wanted: torch.device | None = None) -> torch.device:
    """Where the group can move a tensor: on ``wanted`` (by default the CPU) if it serves both."""
    backend = dist.get_backend()
    if backend == "nccl":
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("cpu") if backend == "gloo" or wanted is None else wanted


def _counts(n_local: int, device: torch.device) -> list[int]:
    world = rank_and_world()[1]
    counts = torch.zeros(world, dtype=torch.int64, device=device)
    counts[rank_and_world()[0]] = n_local
    dist.all_reduce(counts)
    return [int(count) for count in counts]


def _order(counts: list[int], device: torch.device, together: int = 1) -> Tensor:
    """Place in the global batch of each row of the ranks' concatenation."""
    item, within = np.divmod(np.concatenate([np.arange(count) for count in counts]), together)
    rank = np.repeat(np.arange(len(counts)), counts)
    position = np.empty(len(item), dtype=np.int64)
    position[np.lexsort((within, rank, item))] = np.arange(len(item))
    return torch.from_numpy(position).to(device)


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, together: int) -> Tensor:
        counts = _counts(len(rows), rows.device)
        padded = rows.new_zeros((max(counts), *rows.shape[1:]))
        padded[: len(rows)] = rows.detach()
        parts = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(parts, padded)
        joined = torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])
        order = _order(counts, rows.device, together)
        start = sum(counts[: rank_and_world()[0]])
        ctx.mine = order[start : start + len(rows)]
        gathered = torch.empty_like(joined)
        gathered[order] = joined
        return gathered

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        total = gradients[0].contiguous().clone()
        dist.all_reduce(total)
        return total[ctx.mine], None

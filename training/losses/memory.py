"""A queue of embeddings of earlier batches: more candidates for contrast than a batch holds."""

import torch
from torch import Tensor, nn

from offsite.training.devices.distributed import gather


class MemoryQueue(nn.Module):
    """First in, first out; kept in checkpoints, left out of an algorithm's `inference_state`.

    Parameters
    ----------
    size : int
        Most embeddings kept, >= 1.
    features : int
        E.
    """

    embeddings: Tensor
    labels: Tensor

    def __init__(self, size: int, features: int) -> None:
        super().__init__()
        self.register_buffer("embeddings", torch.zeros(size, features))
        self.register_buffer("labels", torch.full((size,), -2))  # -2 = empty: of no item's class

    def content(self) -> tuple[Tensor, Tensor]:
        """Return the embeddings and labels held, newest first; none of them has a gradient."""
        held = self.labels >= 0
        return self.embeddings[held], self.labels[held]

    @torch.no_grad()
    def push(self, embeddings: Tensor, labels: Tensor) -> None:
        """Take in this rank's rows of a batch (B x E, B); all ranks' rows are stored on each."""
        rows, known = gather(embeddings.detach().float()), gather(labels)
        rows, known = rows[known >= 0], known[known >= 0]
        size = len(self.labels)
        self.embeddings.copy_(torch.cat([rows, self.embeddings])[:size])
        self.labels.copy_(torch.cat([known, self.labels])[:size])

"""The one fit loop. It knows no algorithm by name and resumes to the same weights and curves."""

import itertools
import json
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from offsite.errors import InputError
from offsite.files import digest_of
from offsite.training.algorithm import Algorithm
from offsite.training.devices import distributed
from offsite.training.fit import checkpoint as store
from offsite.training.fit import result as results
from offsite.training.fit.averages import weight_average
from offsite.training.fit.averaging import holding
from offsite.training.fit.engine import Engine
from offsite.training.fit.loss_means import LossMeans
from offsite.training.fit.result import FitResult as FitResult
from offsite.training.fit.selection import Selection
from offsite.training.fit.settings import FitSettings as FitSettings

log = logging.getLogger("offsite.training")

Validate = Callable[[Algorithm, int], dict[str, float | None]]

# In several processes the clock of rank 0 is asked, which costs a broadcast: not at every step.
_CLOCK_EVERY = 16


class BatchSource(Protocol):
    """Batches as a pure function of (seed, epoch); in several processes each rank's shards.

    A thread may read ahead, so a source draws from its generators and not from torch's.
    """

    def steps(self, epoch: int) -> int:
        """Return the number of batches of an epoch, equal on every rank."""

    def batches(self, epoch: int, start: int = 0) -> Iterator[Any]:
        """Yield the batches of an epoch from number ``start`` on."""


def fit(
    algorithm: Algorithm,
    source: BatchSource,
    settings: FitSettings,
    folder: str | Path,
    validate: Validate | None = None,
    fingerprint: str = "",
    validated: Mapping[str, int] | None = None,
    told: Mapping[str, Any] | None = None,
) -> FitResult:
    """Fit an algorithm, or go on with a fit that was cut off.

    The caller builds the algorithm under a fixed seed; with the same first weights, settings and
    source a run killed at any moment ends with the weights and curves of an undisturbed one. Before
    each step torch's generator is seeded from (seed, epoch, step, rank), so dropout and every draw
    inside `Algorithm.step` repeat too. A finished run returns at once.

    Parameters
    ----------
    algorithm : Algorithm
        Moved to the device and left with its last weights; load the result's file to use it.
    source : BatchSource
        Where the batches come from.
    settings : FitSettings
        How to fit.
    folder : path
        Gets ``curves.jsonl``, ``checkpoint/`` (removed at the end), ``weights.safetensors`` and
        ``fit.json``.
    validate : callable, optional
        ``validate(algorithm, epoch)`` gives the scores of an epoch, None where one is undefined.
        Called on rank 0 alone, in eval mode and without gradients, so it must not communicate.
    fingerprint : str
        Digest of all else that the weights depend on (data, architecture). A checkpoint or result
        of another fingerprint or other settings is discarded.
    validated : mapping, optional
        Validation patients of each class: with too few of one the last epoch is kept
        (``fewest_validated``); not given, they are taken to be enough.
    told : mapping, optional
        JSON-able facts of how the algorithm was made, which ``fit.json`` keeps as ``made``.

    Raises
    ------
    InputError
        Code ``diverged`` (a loss is not finite), ``no_batches``, ``no_score`` (``validate`` does
        not give ``select_by``), ``unknown_device``.
    """
    path = Path(folder)
    digest = digest_of([settings.outcome_digest(), fingerprint])
    finished = results.finished(path, digest)
    if finished is not None:
        results.tidy(path)  # a kill may have come between the result and this
        return finished
    fitting = _Fitting(algorithm, source, settings, path, validate, digest, validated)
    fitting.resume()
    while fitting.epoch < settings.last_epochs and not fitting.selection.patience_is_out:
        fitting.train_epoch()
        fitting.close_epoch()
    return fitting.finish(told or {})


class _Fitting:
    """The state of one fit."""

    def __init__(
        self,
        algorithm: Algorithm,
        source: BatchSource,
        settings: FitSettings,
        folder: Path,
        validate: Validate | None,
        digest: str,
        validated: Mapping[str, int] | None,
    ) -> None:
        self.algorithm, self.source, self.settings = algorithm, source, settings
        self.folder, self.validate, self.digest = folder, validate, digest
        counts = [source.steps(epoch) for epoch in range(settings.epochs)]
        if min(counts) < 1:
            raise InputError(
                "an epoch holds no batch",
                remedy="Give at least one labelled training item",
                code="no_batches",
            )
        self.counts = counts
        self.first_step = list(itertools.accumulate(counts, initial=0))
        self.engine = Engine(algorithm, settings)
        self.average = weight_average(settings)
        self.selection = Selection(settings, validates=validate is not None, patients=validated)
        self.losses = LossMeans(self.engine.device)
        self.epoch = self.step = 0
        self.seconds = 0.0
        self.best: dict[str, Tensor] = {}
        self.saved_at = self.since = time.monotonic()

    def progress(self, step: int) -> float:
        """Share of the training done before a step of the present epoch; the last step is at 1."""
        return (self.first_step[self.epoch] + step) / max(1, self.first_step[-1] - 1)

    def train_epoch(self) -> None:
        self.since = time.monotonic()
        self.algorithm.train()
        batches = self.source.batches(self.epoch, start=self.step)
        for batch in self.engine.ahead(batches):
            progress = self.progress(self.step)
            self.losses.add(*self.engine.step(batch, progress, self.epoch, self.step))
            self.average.update(self.algorithm)
            self.step += 1
            if self.step < self.counts[self.epoch] and self._save_is_due():
                self.save()
        if self.step != self.counts[self.epoch]:
            raise RuntimeError(
                f"epoch {self.epoch} gave {self.step} batches, not {self.counts[self.epoch]}"
            )

    def close_epoch(self) -> None:
        """Validate, select, write the epoch's line and, where due, a checkpoint."""
        rate = self.settings.learning_rate_at(self.progress(self.step - 1))
        means = self.losses.means()
        progress = (self.epoch + 1) / self.settings.epochs
        with holding(self.algorithm, self.average.validated()):
            scores = self._scores()
            if self.selection.take(self.epoch, scores):
                state = self.algorithm.inference_state()
                self.best = {name: t.detach().cpu().clone() for name, t in state.items()}
        self.average.close_epoch(scores)
        line = {
            "epoch": self.epoch,
            "progress": progress,
            "losses": means,
            "learning_rate": rate,
            "scores": scores,
            "seconds": round(self.seconds + time.monotonic() - self.since, 3),
        }
        if self.engine.rank == 0:
            store.append_line(self.folder / "curves.jsonl", json.dumps(line, allow_nan=False))
            log.info("epoch %d of %d: %s", self.epoch + 1, self.settings.epochs, means | scores)
        self.losses.clear()
        self.epoch, self.step, self.seconds = self.epoch + 1, 0, 0.0
        self.since = time.monotonic()
        if self._save_is_due():
            self.save()

    def _scores(self) -> dict[str, float | None]:
        scores: dict[str, float | None] = {}
        if self.validate is not None and self.engine.rank == 0:
            self.algorithm.eval()
            with torch.no_grad():
                raw = self.validate(self.algorithm, self.epoch)
            scores = {
                name: float(value) if value is not None and math.isfinite(value) else None
                for name, value in raw.items()
            }
        return dict(distributed.from_rank_zero(scores))

    def _save_is_due(self) -> bool:
        done = self.first_step[self.epoch] + self.step
        every = self.settings.checkpoint_every_steps
        if every is not None and done % every == 0:
            return True
        if self.engine.world > 1 and done % _CLOCK_EVERY:
            return False
        late = time.monotonic() - self.saved_at >= self.settings.checkpoint_every_seconds
        return bool(distributed.from_rank_zero(late))

    def save(self) -> None:
        losses = self.losses.state()  # summed over ranks, so every rank takes part
        if self.engine.rank == 0:
            state = {f"model.{n}": t for n, t in self.algorithm.state_dict().items()}
            moments = store.optimiser_tensors(self.engine.optimiser)
            state |= {f"optimiser.{n}": t for n, t in moments.items()}
            state |= {f"average.{n}": t for n, t in self.average.tensors().items()}
            facts = {
                "digest": self.digest,
                "epoch": self.epoch,
                "step": self.step,
                "seconds": self.seconds + time.monotonic() - self.since,
                "losses": losses,
                "average": self.average.facts(),
                "selection": self.selection.facts(),
                "best_epoch": self.selection.epoch,
            }
            store.save_checkpoint(self.folder / "checkpoint", state, self.best, facts)
        self.saved_at = time.monotonic()

    def resume(self) -> None:
        """Go back to the last checkpoint, or to the start; cut the curves to match."""
        restored = self._usable_checkpoint() if self.engine.rank == 0 else None
        if not distributed.from_rank_zero(restored is not None):
            return
        restored = restored or store.load_checkpoint(self.folder / "checkpoint", self.digest)
        if restored is None:
            raise RuntimeError(f"{self.folder} is not seen by every process")
        self.algorithm.load_state_dict(store.part(restored.tensors, "model"))
        store.load_optimiser_tensors(
            self.engine.optimiser, store.part(restored.tensors, "optimiser")
        )
        on_device = {
            name: tensor.to(self.engine.device)
            for name, tensor in store.part(restored.tensors, "average").items()
        }
        self.average.load(on_device, restored.facts["average"])
        self.selection.load(restored.facts["selection"])
        self.losses.load(restored.facts["losses"], take=self.engine.rank == 0)
        self.best = restored.best
        self.epoch, self.step = restored.facts["epoch"], restored.facts["step"]
        self.seconds = restored.facts["seconds"]

    def _usable_checkpoint(self) -> store.Checkpoint | None:
        curves, checkpoints = self.folder / "curves.jsonl", self.folder / "checkpoint"
        self.folder.mkdir(parents=True, exist_ok=True)
        results.remove_half_written(self.folder)
        for stale in ("fit.json", "weights.safetensors"):
            (self.folder / stale).unlink(missing_ok=True)
        restored = store.load_checkpoint(checkpoints, self.digest)
        if restored is not None and not store.keep_lines(curves, restored.facts["epoch"]):
            log.warning("%s lacks epochs of the checkpoint; training starts anew", curves)
            store.remove_checkpoint(checkpoints)
            restored = None
        if restored is None:
            store.keep_lines(curves, 0)
        return restored

    def finish(self, told: Mapping[str, Any]) -> FitResult:
        reason, note, weights = self.selection.reason, self.selection.note, self.best
        epoch: int | None = self.selection.epoch
        score = self.selection.score
        final, missing = self.average.final(), self.average.missing()
        if missing:
            log.warning("%s", missing)
            note = "; ".join(filter(None, (note, missing)))
        with holding(self.algorithm, final):
            if final is not None:
                reason, note, weights = "swad", "", self.algorithm.inference_state()
                epoch = score = None  # they are the weights of no one epoch
            path = self.folder / "weights.safetensors"
            if self.engine.rank == 0:
                store.save_tensors(path, weights)
        result = FitResult(path, epoch, score, self.epoch, reason, note)
        if self.engine.rank == 0:
            results.record(self.folder, self.digest, result, told)
            results.tidy(self.folder)
        distributed.wait_for_all()
        return result

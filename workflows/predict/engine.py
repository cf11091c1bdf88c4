"""The pipeline: inputs are read and prepared, inferred in batches, and written in a thread.

Files are opened where the predictor is told to (`offsite.children`), each on behalf of a thread. A
device infers one batch after the other meanwhile; without one, threads infer a batch each. Never
more than a fixed number of inputs is in flight, so memory does not grow with their number. Inputs
are taken in order and go on as they are ready: a slow one keeps no other waiting. A fault of one
input is that input's row, and the rest goes on.
"""

import errno
import queue
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from offsite.cores import shared_cores
from offsite.errors import InputError
from offsite.files import is_sampled, state_of
from offsite.training.prediction.codes import Code, Status
from offsite.training.prediction.contents import content_of, sha256_of
from offsite.training.prediction.contract import Predictor
from offsite.training.prediction.items import Item
from offsite.workflows.predict.answers.judgement import Judge
from offsite.workflows.predict.monitor import Monitor
from offsite.workflows.predict.output.case_files import CaseFiles
from offsite.workflows.predict.output.journal import DEATHS, Journal
from offsite.workflows.predict.passage import (
    CHANGED,
    Passage,
    check_file,
    is_out_of_memory,
    sentence,
)
from offsite.workflows.predict.writer import Writer

# Of inputs that need no inference (bad ones, those of an earlier run) no more gather than this.
LONGEST_BATCH = 64
# A full or read-only disk is not one case's fault.
_DISK_FAULTS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


@dataclass(frozen=True, kw_only=True)
class EngineOptions:
    """How a batch is carried out; nothing here changes a result.

    ``workers`` inputs are prepared at a time; ``ahead`` batches may be prepared and not yet inferred.
    ``retry_failed``: also try inputs with which runs ended.
    """

    workers: int = 2
    ahead: int = 2
    fail_fast: bool = False
    resume: bool = True
    retry_failed: bool = False
    refresh: Callable[[], None] = field(default=lambda: None)
    stop: Callable[[], None] = field(default=lambda: None)


@dataclass
class Tally:
    """What a run did."""

    finished: int = 0
    resumed: int = 0
    errors: int = 0
    inferred: int = 0
    device_seconds: float = 0.0
    wall_seconds: float = 0.0
    memory_halvings: int = 0
    lanes: int = 1

    def idle_share(self) -> float | None:
        """Share of the run in which the device (or, without one, a thread) did not infer."""
        whole = self.wall_seconds * self.lanes
        return 1 - self.device_seconds / whole if whole else None


class Engine:
    """Runs a predictor over many inputs."""

    def __init__(
        self,
        predictor: Predictor,
        judge: Judge,
        files: CaseFiles,
        journal: Journal,
        monitor: Monitor,
        options: EngineOptions,
    ) -> None:
        self._predictor = predictor
        self._judge = judge
        self._files = files
        self._journal = journal
        self._monitor = monitor
        self._options = options
        self._counting = threading.Lock()
        self.tally = Tally(lanes=options.workers if predictor.concurrent else 1)

    def run(self, items: Sequence[Item]) -> Tally:
        """Run all inputs; what ``KeyboardInterrupt`` cuts off stays as it was before."""
        with shared_cores(min(self._options.workers, len(items)) or 1) as take_share:
            return self._run(items, take_share)

    def _run(self, items: Sequence[Item], take_share: Callable[[], None]) -> Tally:
        start = time.monotonic()
        writer = Writer(self._write)
        workers = self._options.workers
        reading = ThreadPoolExecutor(workers, thread_name_prefix="read", initializer=take_share)
        pool = ThreadPoolExecutor(workers, thread_name_prefix="infer", initializer=take_share)
        try:
            for batch in self._answered(pool, self._batches(self._prepared(reading, items))):
                for passage in batch:
                    writer.put(passage)
                if writer.stopped or (self._options.fail_fast and any(p.failed for p in batch)):
                    self._options.stop()
                    break
                self._options.refresh()
        except BaseException:
            self._options.stop()  # nobody waits for what is being read
            raise
        finally:
            for threads in (reading, pool):
                threads.shutdown(wait=True, cancel_futures=True)
            writer.close()
            self._journal.close()
            self.tally.wall_seconds = time.monotonic() - start
        writer.raise_fault()
        return self.tally

    def _prepared(self, pool: ThreadPoolExecutor, items: Sequence[Item]) -> Iterator[Passage]:
        """The inputs as they are ready; those with which a run ended come last, one at a time."""
        if self._options.retry_failed:
            for item in items:
                self._journal.forget(item)
        suspects = {item.number for item in items if self._journal.deaths(item)}
        window = self._options.workers + self._options.ahead * self._predictor.batch_size
        others = [item for item in items if item.number not in suspects]
        yield from self._as_ready(pool, others, window)
        yield from self._as_ready(pool, [i for i in items if i.number in suspects], 1)

    def _as_ready(
        self, pool: ThreadPoolExecutor, items: Sequence[Item], window: int
    ) -> Iterator[Passage]:
        ready: queue.SimpleQueue[Future[Passage]] = queue.SimpleQueue()
        upcoming, pending = iter(items), 0
        while True:
            while pending < window and (item := next(upcoming, None)) is not None:
                pool.submit(self._prepare, item).add_done_callback(ready.put)
                pending += 1
            if not pending:
                return
            passage = ready.get().result()
            pending -= 1
            yield passage

    def _prepare(self, item: Item) -> Passage:
        passage, start = Passage(item), time.monotonic()
        files = [item.path, *item.parts, *(other.path for other in item.siblings)]
        with passage.blamed():
            check_file(item)
            before = state_of(files)
            if self._options.resume and self._files.has_record(item):
                self._identify(passage)
                passage.stored = self._files.current(item, passage.key)
        if passage.stored is None and passage.fault is None:
            self._read(passage)
            with passage.blamed():
                self._identify(passage)
                digest = passage.prepared.content if passage.prepared else ""
                if not digest and state_of(files) != before:
                    raise OSError(errno.ESTALE, CHANGED)
                # One that is refused is not read to its end for the sake of its digest.
                answered = passage.prepared is not None
                passage.content = digest or sha256_of(item, passage.content, read=answered)
        passage.seconds = time.monotonic() - start
        return passage

    def _read(self, passage: Passage) -> None:
        if self._journal.deaths(passage.item) >= DEATHS:
            text = f"{DEATHS} runs were killed while it was read; --retry-failed tries again"
            passage.fault = Code.CRASHED, text
            return
        self._journal.begin(passage.item)
        passage.read(self._predictor)

    def _identify(self, passage: Passage) -> None:
        """Say what the input is: of bytes that were decoded, these; else the files."""
        item, decoded = passage.item, passage.prepared.content if passage.prepared else ""
        if decoded and not is_sampled(item.path):
            passage.content = decoded
        elif not passage.content:
            passage.content = content_of(item)
        passage.key = self._files.key(item, passage.content)

    def _batches(self, stream: Iterator[Passage]) -> Iterator[list[Passage]]:
        """Batches of what must be inferred; what needs no inference goes along with them."""
        batch: list[Passage] = []
        waiting = 0
        for passage in stream:
            batch.append(passage)
            waiting += passage.wants_inference
            if waiting == self._predictor.batch_size or len(batch) >= LONGEST_BATCH:
                yield batch
                batch, waiting = [], 0
        if batch:
            yield batch

    def _answered(
        self, pool: ThreadPoolExecutor, batches: Iterator[list[Passage]]
    ) -> Iterator[list[Passage]]:
        """The batches in their order, each as soon as it and all before it are inferred."""
        if not self._predictor.concurrent:
            yield from map(self._inferred, batches)
            return
        pending: deque[Future[list[Passage]]] = deque()
        for batch in batches:
            pending.append(pool.submit(self._inferred, batch))
            if len(pending) > self._options.workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()

    def _inferred(self, batch: list[Passage]) -> list[Passage]:
        waiting = [passage for passage in batch if passage.wants_inference]
        if waiting:
            start = time.monotonic()
            self._infer(waiting)
            took = time.monotonic() - start
            with self._counting:
                self.tally.device_seconds += took
            for passage in waiting:
                passage.seconds += took / len(waiting)
                passage.drop_payload()
        return batch

    def _infer(self, waiting: list[Passage]) -> None:
        """Infer a batch; where it does not go as a whole, its halves, down to the one at fault."""
        inputs = [passage.prepared for passage in waiting if passage.prepared is not None]
        failure: Exception | None = None
        try:
            answers = self._predictor.infer(inputs)
        except Exception as error:
            failure = error
        if failure is not None:
            self._infer_less(waiting, failure)
            return
        for passage, answer in zip(waiting, answers, strict=True):
            passage.take(answer)
        with self._counting:
            self.tally.inferred += len(answers)

    def _infer_less(self, waiting: list[Passage], failure: Exception) -> None:
        short = is_out_of_memory(failure)
        if short:
            with self._counting:
                self.tally.memory_halvings += 1
            self._monitor.note("out of memory, going on with less", inputs=len(waiting))
        if len(waiting) > 1:
            failure.__traceback__ = None  # its frames hold the tensors of the batch
            middle = (len(waiting) + 1) // 2
            self._infer(waiting[:middle])
            self._infer(waiting[middle:])
        elif short and self._predictor.shrink():
            failure.__traceback__ = None
            self._infer(waiting)
        else:
            waiting[0].blame(failure)

    def _write(self, passage: Passage) -> None:
        record, resumed = passage.stored, passage.stored is not None
        if record is None:
            record = self._written(passage)
        self.tally.finished += 1
        self.tally.resumed += resumed
        self.tally.errors += record["status"] == Status.ERROR
        self._journal.end(passage.item)
        self._monitor.finished(passage.item.number, record, resumed)

    def _written(self, passage: Passage) -> dict[str, Any]:
        save = passage.answer.save if passage.answer else None
        try:
            return self._files.write(
                passage.item, passage.record(self._judge), passage.pictures, save
            )
        except Exception as error:
            if isinstance(error, OSError) and error.errno in _DISK_FAULTS:
                raise
            why = error.problem if isinstance(error, InputError) else sentence(error)
            passage.answer, passage.fault = None, (Code.OUTPUT_FAILED, why)
            passage.detail = traceback.format_exc()
            return self._files.write(passage.item, passage.record(self._judge), {}, None)

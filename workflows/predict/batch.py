"""One run from inputs to a folder that can be opened: the engine with everything around it."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from offsite.children.limits import Limits
from offsite.errors import InputError
from offsite.files import BOOKKEEPING
from offsite.locks import writing
from offsite.training.prediction.codes import Status
from offsite.training.prediction.contract import Predictor
from offsite.training.prediction.items import Item
from offsite.workflows.package.folder import Package
from offsite.workflows.predict.answers.judgement import Judge
from offsite.workflows.predict.answers.rollup import patients_of
from offsite.workflows.predict.engine import Engine, EngineOptions
from offsite.workflows.predict.inputs.listing import Inputs, part_of
from offsite.workflows.predict.monitor import monitor_for
from offsite.workflows.predict.output.case_files import CaseFiles
from offsite.workflows.predict.output.journal import Journal
from offsite.workflows.predict.output.run_record import (
    RunRecord,
    check_unchanged,
    counts_of,
    is_ours,
    now,
)
from offsite.workflows.predict.output.tables import (
    LINES,
    PATIENTS,
    RESULTS,
    records_of,
    write_patients,
    write_tables,
)
from offsite.workflows.predict.pages.writing import PageModel, write_cases, write_worklist
from offsite.workflows.predict.stopping import opened_elsewhere, stoppable

DONE, SOME_FAILED, INTERRUPTED = 0, 3, 130
_REFRESH_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class BatchOptions:
    """How a batch is carried out.

    Attributes
    ----------
    output : Path
        Folder of the results.
    workers : int
        Inputs that are read and prepared at a time.
    limits : Limits
        What reading an input may take.
    part : str
        ``i/n``: only this share, into ``parts/<i>-of-<n>``; a run without it gathers all.
    fail_fast, resume, retry_failed, json_log : bool
        Stop at the first error; reuse what still holds; but try again what failed; log as JSON lines.
    """

    output: Path
    workers: int = 2
    limits: Limits = field(default_factory=Limits)
    part: str = ""
    fail_fast: bool = False
    resume: bool = True
    retry_failed: bool = False
    json_log: bool = False


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a run ended; ``records`` reads each input's from disk, in order."""

    exit_code: int
    folder: Path
    counts: dict[str, dict[str, int]]
    facts: dict[str, Any]
    records: Callable[[], Iterator[dict[str, Any]]]
    left_out: str


def run_batch(
    package: Package, predictor: Predictor, inputs: Inputs, options: BatchOptions, device: str = ""
) -> Outcome:
    """Predict all inputs and write the results; see docs/predict.md for the files.

    Raises
    ------
    InputError
        The output folder is in use, or holds something else.
    """
    items = part_of(inputs.items, options.part) if options.part else inputs.items
    check_output(options.output)
    folder = tables_folder(options)
    with writing(options.output, part=options.part), stoppable(), ExitStack() as stack:
        check_unchanged(folder)
        publication = _Publication(
            package, predictor, items, folder, options, inputs.left_out_text()
        )
        record = RunRecord(folder, _facts(package, predictor, inputs, items, options, device))
        children = stack.enter_context(opened_elsewhere(predictor, options.workers, options.limits))
        engine = publication.engine(predictor, children)
        status, fault = "done", None
        try:
            with publication.monitor:
                engine.run(items)
        except KeyboardInterrupt:
            status = "interrupted"
        except BaseException as error:
            status, fault = "failed", error
        counts = publication.write(finished=now() if status == "done" else "")
        publication.tidy()
        facts = {**asdict(engine.tally), "device_idle_share": engine.tally.idle_share()}
        lost = publication.monitor.log_lost
        record.finish(
            status, (RESULTS, LINES, PATIENTS), counts=counts, timing=facts, log_lost=lost
        )
    if fault is not None:
        raise fault
    failed = counts["status"].get(Status.ERROR, 0) + counts["status"].get(Status.PENDING, 0)
    code = INTERRUPTED if status == "interrupted" else SOME_FAILED if failed else DONE
    return Outcome(
        exit_code=code,
        folder=folder,
        counts=counts,
        facts=facts,
        records=publication.records,
        left_out=inputs.left_out_text(),
    )


def check_output(output: Path) -> None:
    """Refuse a folder that holds what no earlier run wrote.

    Raises
    ------
    InputError
        Naming what is there.
    """
    if output.exists() and not output.is_dir():
        raise InputError("the output is a file", file=output, remedy="Name a folder")
    if not output.is_dir() or is_ours(output):
        return
    present = {
        path.name for path in output.iterdir() if not path.name.startswith((BOOKKEEPING, ".lock"))
    }
    foreign = sorted(present - {"cases", "parts", "assets"})
    if foreign:
        raise InputError(
            f"the output folder holds other files ({', '.join(foreign[:5])})",
            file=output,
            remedy="Name a new or empty folder",
            code="folder_in_use",
        )


def settings_of(package: Package, predictor: Predictor) -> dict[str, Any]:
    """Return everything but the input that a result depends on."""
    return {
        "software": version("offsite"),
        "model": package.digest,
        "predictor": predictor.describe(),
    }


def tables_folder(options: BatchOptions) -> Path:
    """Make the folder of the tables; a part has its own, the cases are shared."""
    output = options.output
    folder = output / "parts" / options.part.replace("/", "-of-") if options.part else output
    folder.mkdir(parents=True, exist_ok=True)
    return folder


class _Publication:
    """Everything that is made from the cases on disk, again and again while a run goes on."""

    def __init__(
        self,
        package: Package,
        predictor: Predictor,
        items: Sequence[Item],
        folder: Path,
        options: BatchOptions,
        left_out: str,
    ) -> None:
        self._left_out = left_out
        self._package, self._items, self._folder, self._options = package, items, folder, options
        self._next = time.monotonic() + _REFRESH_SECONDS
        settings = settings_of(package, predictor)
        self._files = CaseFiles(
            options.output, settings, options.limits, retry_failed=options.retry_failed
        )
        self.monitor = monitor_for(len(items), json_log=options.json_log)

    def engine(self, predictor: Predictor, stop: Callable[[], None]) -> Engine:
        options = self._options
        how = EngineOptions(
            workers=options.workers,
            fail_fast=options.fail_fast,
            resume=options.resume,
            retry_failed=options.retry_failed,
            refresh=self._refresh,
            stop=stop,
        )
        journal = Journal(options.output)
        return Engine(predictor, Judge(self._package), self._files, journal, self.monitor, how)

    def write(self, finished: str) -> dict[str, dict[str, int]]:
        """Write tables and pages from the cases as they stand."""
        record = self._package.record
        model = {
            "model": record.name,
            "model_version": record.version,
            "model_sha256": self._package.digest,
        }
        records = self.records
        words = record.words.names if record.words else ()
        write_tables(records(), self._folder, record.classes, model, words)
        if not self._options.part:  # a part holds some images of a patient, and has no pages
            patients = patients_of(records(), record.task)
            write_patients(patients, self._folder)
            page = PageModel(
                record=record,
                sha256=self._package.digest,
                software=version("offsite"),
                left_out=self._left_out,
            )
            order = write_worklist(records(), patients, self._folder, page, finished)
            write_cases(records(), order, self._folder, page)
        return counts_of(records())

    def tidy(self) -> None:
        """Leave nothing behind but results."""
        self._files.tidy()

    def records(self) -> Iterator[dict[str, Any]]:
        """Yield the record of each input, as far as this run vouches for it."""
        return records_of(self._items, self._files)

    def _refresh(self) -> None:
        # A power cut leaves a worklist that is at most this old; its cost stays under a tenth.
        if time.monotonic() > self._next:
            start = time.monotonic()
            self.write(finished="")
            self._next = time.monotonic() + max(_REFRESH_SECONDS, 10 * (time.monotonic() - start))


def _facts(
    package: Package,
    predictor: Predictor,
    inputs: Inputs,
    items: Sequence[Item],
    options: BatchOptions,
    device: str,
) -> dict[str, Any]:
    record = package.record
    return {
        "model": {
            "name": record.name,
            "version": record.version,
            "task": record.task,
            "sha256": package.digest,
        },
        "device": device,
        "workers": options.workers,
        "limits": options.limits.model_dump(),
        "part": options.part,
        "settings": predictor.describe(),
        "inputs": len(items),
        "inputs_repeated": inputs.repeated,
        "files_ignored": inputs.ignored,
        "left_out": inputs.left_out_text(),
    }

"""One input on its way through the pipeline, its faults, and the record that comes of it."""

import errno
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np

from offsite.children.ended import ChildEnded
from offsite.children.limits import Limits
from offsite.errors import InputError
from offsite.preprocessing.views import pictures_of
from offsite.training.prediction.codes import Code, Decision, Status, status_of
from offsite.training.prediction.contract import (
    AnswerInWords,
    ModelAnswer,
    Predictor,
    Prepared,
    Rejected,
)
from offsite.training.prediction.items import Item
from offsite.workflows.predict.answers.judgement import Judge

# What a share that is away for a moment says of a file that is whole.
_STORAGE_FAULTS = frozenset(
    {
        errno.EIO,
        errno.ESTALE,
        errno.ETIMEDOUT,
        errno.ENETDOWN,
        errno.ENETUNREACH,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.ECONNRESET,
        errno.ENOTCONN,
        errno.EREMOTEIO,
        errno.EAGAIN,
        errno.EBUSY,
        errno.EMFILE,
        errno.ENFILE,
    }
)


CHANGED = "the file changed while it was read"


@dataclass(eq=False)
class Passage:
    """One input on its way through the pipeline.

    ``stored`` is the record of an earlier run that still holds; ``fault`` is why there is no
    answer, ``limits`` those that it was ended by; ``pictures`` are shown of it; ``detail`` is a
    traceback, for the record of the case alone.
    """

    item: Item
    key: str = ""
    content: str = ""
    prepared: Prepared | None = None
    answer: ModelAnswer | None = None
    stored: dict[str, Any] | None = None
    fault: tuple[Code, str] | None = None
    limits: Limits | None = None
    pictures: dict[str, bytes] = field(default_factory=dict)
    detail: str = ""
    seconds: float = 0.0

    @property
    def wants_inference(self) -> bool:
        """Whether the model has yet to see it."""
        return self.stored is None and self.fault is None and self.prepared is not None

    @property
    def failed(self) -> bool:
        """Whether it ends as an error."""
        return self.fault is not None and status_of(self.fault[0]) is Status.ERROR

    @contextmanager
    def blamed(self) -> Iterator[None]:
        """Make whatever goes wrong inside the reason why there is no answer."""
        try:
            yield
        except Rejected as rejection:
            self.fault = rejection.code, rejection.message
            with suppress(Exception):  # a case without its picture is still a row
                self._show(rejection.view)
        except Exception as error:
            self.blame(error)

    def read(self, predictor: Predictor, *, shown: bool = True) -> None:
        """Prepare the input; one that cannot be graded will not be inferred.

        ``shown``: somebody will look at it.
        """
        with self.blamed():
            prepared = predictor.prepare(self.item)
            if shown:
                self._show(prepared.view)
                self.pictures = self.pictures or dict(prepared.pictures)
            self.prepared = replace(prepared, view=None, pictures={})
            quality = prepared.quality
            if not quality.gradable:
                self.fault = Code.UNGRADABLE, "; ".join(quality.reasons) or "poor quality"

    def _show(self, view: np.ndarray | None) -> None:
        """Keep the view as files: a hundredth of its pixels, so that many may wait to be written."""
        if view is not None:
            self.pictures = pictures_of(view)

    def blame(self, error: Exception) -> None:
        """Make an error the reason why there is no answer."""
        if isinstance(error, ChildEnded):
            self.fault, self.detail = (Code(error.code), error.message), error.detail
            self.limits = error.limits
        elif is_out_of_memory(error):
            self.fault = Code.OUT_OF_MEMORY, "it does not fit into memory, not even alone"
        elif isinstance(error, InputError):
            self.fault = Code.UNREADABLE, error.problem
        elif isinstance(error, OSError):
            self.fault = code_of(error), sentence(error)
        else:
            self.fault = Code.INTERNAL_ERROR, f"offsite failed on it ({type(error).__name__})"
            self.detail = "".join(traceback.format_exception(error))

    def take(self, answer: ModelAnswer) -> None:
        """Take the model's answer; one that is no number is none."""
        if _finite(answer.logits) and _finite(answer.embedding):
            self.answer = answer
        else:
            self.fault = Code.INTERNAL_ERROR, "the model's answer is not a finite number"

    def drop_payload(self) -> None:
        """Let the pixels go once the model has seen them."""
        if self.prepared is not None:
            self.prepared = replace(self.prepared, payload=None)

    def record(self, judge: Judge) -> dict[str, Any]:
        """Return what ``case.json`` says of the input."""
        item, prepared = self.item, self.prepared
        record: dict[str, Any] = {
            "case": item.case,
            "key": self.key,
            "input": item.name,
            "patient": item.patient,
            "site": item.site,
            "eye": item.eye,
            "input_sha256": self.content,
        }
        if prepared is not None:
            quality = prepared.quality
            record["quality"] = _quality_word(quality.assessed, quality.gradable)
            record |= {"quality_score": quality.score, "quality_reasons": list(quality.reasons)}
            record["facts"] = prepared.facts
        if self.answer is not None:
            columns, decided = judge.judge(self.answer, item.site)
            record |= columns
            record |= {
                "status": decided.status,
                "code": decided.code,
                "decision": decided.decision,
                "reasons": [*decided.reasons, *(prepared.notes if prepared else ())],
            }
            record["facts"] = {**record.get("facts", {}), **self.answer.facts}
            if self.answer.words is not None:
                record["words"] = in_words(self.answer.words)
        else:
            record |= unanswered(*(self.fault or (Code.INTERNAL_ERROR, "no answer")))
        if self.detail:
            record["detail"] = self.detail
        if self.limits is not None:
            record["limits"] = self.limits.model_dump()
        facts = record.get("facts", {})
        dated = facts.get("acquired") or item.date
        record["facts"] = {
            **facts,
            "acquired": dated,
            "scanner": facts.get("scanner") or item.scanner,
        }
        answered_at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return {**record, "answered_at": answered_at, "seconds": round(self.seconds, 3)}


def in_words(words: AnswerInWords) -> dict[str, list[float | None]]:
    """Return what a record says of the words of a case; a fall that is not defined is None."""
    return {
        "shares": [round(float(share), 6) for share in words.shares],
        "falls": [round(float(f), 6) if np.isfinite(f) else None for f in words.falls],
    }


def unanswered(code: Code, message: str) -> dict[str, Any]:
    """Return what the record of a case without an answer says; it is never 'no referral'."""
    decision = Decision.RETAKE if code is Code.UNGRADABLE else Decision.HUMAN_REVIEW
    return {
        "status": status_of(code),
        "code": code,
        "decision": decision,
        "reasons": [message],
        "referable": "indeterminate",
        "referable_probability": None,
    }


def check_file(item: Item) -> None:
    """Refuse what cannot be read at all, before any library sees it."""
    if item.fault:
        raise Rejected(*item.fault)
    try:
        if not item.path.is_file():
            present = item.path.exists()
            text = "it is not a plain file" if present else "there is no such file"
            raise Rejected(Code.UNSUPPORTED if present else Code.NOT_FOUND, text)
        if not item.path.stat().st_size:
            raise Rejected(Code.EMPTY_FILE, "the file is empty")
        with item.path.open("rb"):  # may it be read?
            pass
    except PermissionError:
        raise Rejected(Code.PERMISSION_DENIED, "the file may not be read") from None
    except OSError as error:
        raise Rejected(code_of(error), sentence(error)) from error


def code_of(error: OSError) -> Code:
    """Return whether the file is at fault, or the disk or network that it lies on."""
    return Code.READ_FAILED if error.errno in _STORAGE_FAULTS else Code.UNREADABLE


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on the host or on a device."""
    text = str(error).lower()
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or (isinstance(error, RuntimeError) and ("out of memory" in text or "alloc" in text))
    )


def sentence(error: Exception) -> str:
    """Return why an error happened, without the name of any file."""
    # The text of an OSError ends with the file's name; its reason alone names nobody.
    reason = error.strerror if isinstance(error, OSError) else None
    return reason or type(error).__name__


def _finite(values: np.ndarray | None) -> bool:
    return values is None or bool(np.isfinite(values).all())


def _quality_word(assessed: bool, gradable: bool) -> str:
    if not assessed:
        return "not_assessed"
    return "gradable" if gradable else "ungradable"

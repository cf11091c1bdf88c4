"""Why a child that read an image is no more."""

import signal

from offsite.children.limits import Limits

CLOSED = "closed"
TIMED_OUT, OUT_OF_MEMORY, CRASHED = "timed_out", "out_of_memory", "crashed"


class ChildEnded(Exception):
    """A child ended before it answered.

    Attributes
    ----------
    code : str
        ``timed_out``, ``out_of_memory`` or ``crashed``.
    message : str
        A sentence with the remedy, without the name of any file.
    limits : Limits or None
        The limits that it was ended by; None where it ended otherwise.
    detail : str
        The last of what it wrote to standard error.
    """

    def __init__(
        self, code: str, message: str, limits: Limits | None = None, detail: str = ""
    ) -> None:
        super().__init__(message)
        self.code, self.message, self.limits, self.detail = code, message, limits, detail


class ChildrenClosed(Exception):
    """The run is being stopped: nothing is known of what was being read."""


def why(reason: str, exit_code: int | None, limits: Limits, detail: str) -> Exception:
    """Tell apart what ended a child.

    Parameters
    ----------
    reason : str
        Why we killed it; "" where we did not.
    exit_code : int or None
        Negative: the signal.
    """
    if reason == CLOSED:
        return ChildrenClosed("the run was stopped")
    if reason == TIMED_OUT:
        text = f"not read within {limits.case_seconds:g} s; --case-seconds allows more"
        return ChildEnded(reason, text, limits, detail)
    if reason == OUT_OF_MEMORY:
        text = f"reading it took more than {limits.case_gib:g} GiB; --case-gib allows more"
        return ChildEnded(reason, text, limits, detail)
    if exit_code == -signal.SIGKILL:  # nobody else but the system does so
        text = (
            "the system ended the process that read it, as for lack of memory;"
            " use fewer --workers, or a smaller --case-gib"
        )
        return ChildEnded(OUT_OF_MEMORY, text, None, detail)
    named = f"exit code {exit_code}"
    if exit_code is not None and exit_code < 0:
        named = signal.Signals(-exit_code).name
    return ChildEnded(CRASHED, f"the reader crashed on it ({named})", None, detail)

"""What is told while a batch runs: to standard error, by case number, never by name."""

import json
import sys
import time
from collections import Counter
from typing import Any, Protocol

from rich.console import Console


class Monitor(Protocol):
    """Hears of every finished case.

    Attributes
    ----------
    log_lost : str
        Why the log ends before the run; "" where it does not.
    """

    log_lost: str

    def __enter__(self) -> "Monitor": ...

    def __exit__(self, *_: object) -> None: ...

    def finished(self, number: int, record: dict[str, Any], resumed: bool) -> None:
        """One more case is done (or was done by an earlier run)."""

    def note(self, event: str, **facts: Any) -> None:
        """Something worth knowing; facts are numbers and plain words."""


class _Quiet:
    """Counts, and says nothing."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.counts: Counter[str] = Counter()
        self.resumed = 0
        self.log_lost = ""
        self.start = time.monotonic()

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def finished(self, number: int, record: dict[str, Any], resumed: bool) -> None:
        self.counts[record["status"]] += 1
        self.resumed += resumed

    def say(self, line: str) -> None:
        """Print a line; a log that cannot be written ends no run, and `log_lost` says so."""
        if self.log_lost:
            return
        try:
            print(line, file=sys.stderr, flush=True)
        except (OSError, ValueError) as error:  # a full disk, a closed pipe, a closed stream
            self.log_lost = (error.strerror if isinstance(error, OSError) else None) or "closed"

    @property
    def done(self) -> int:
        return sum(self.counts.values())

    def summary(self) -> str:
        counts = ", ".join(f"{count} {name}" for name, count in sorted(self.counts.items()))
        fresh = self.done - self.resumed
        pace = fresh / max(time.monotonic() - self.start, 1e-9)
        return f"{self.done}/{self.total} cases ({counts or 'none'}), {pace:.1f}/s"


class JsonMonitor(_Quiet):
    """One JSON object a line."""

    def finished(self, number: int, record: dict[str, Any], resumed: bool) -> None:  # noqa: D102
        super().finished(number, record, resumed)
        self.note(
            "case",
            number=number,
            status=record["status"],
            code=record["code"],
            decision=record["decision"],
            resumed=resumed,
            seconds=record["seconds"],
        )

    def note(self, event: str, **facts: Any) -> None:  # noqa: D102
        line = {"event": event, "seconds_since_start": round(time.monotonic() - self.start, 3)}
        self.say(json.dumps({**line, **facts}))


class PlainMonitor(_Quiet):
    """A line for each problem and at each tenth of the way, at least every minute."""

    EVERY_SECONDS = 60.0

    def __init__(self, total: int) -> None:
        super().__init__(total)
        self._tenth = 0
        self._told = self.start

    def finished(self, number: int, record: dict[str, Any], resumed: bool) -> None:  # noqa: D102
        super().finished(number, record, resumed)
        if record["status"] == "error" and not resumed:
            self.note(f"case {number}: {record['code']}")
        tenth, now = 10 * self.done // max(self.total, 1), time.monotonic()
        if tenth > self._tenth or now - self._told > self.EVERY_SECONDS:
            self._tenth, self._told = tenth, now
            self.note(self.summary())

    def note(self, event: str, **facts: Any) -> None:  # noqa: D102
        told = ", ".join(f"{name} {value}" for name, value in facts.items())
        self.say(f"{event}{': ' if told else ''}{told}")


class TerminalMonitor(_Quiet):
    """A bar with counts and the time left."""

    def __enter__(self) -> "TerminalMonitor":
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
        from rich.progress import TimeRemainingColumn as Remaining

        self._bar = Progress(
            TextColumn("[bold]predict"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[counts]}", style="dim"),
            Remaining(),
            console=Console(stderr=True),
        )
        self._bar.start()
        self._task = self._bar.add_task("predict", total=self.total, counts="")
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def finished(self, number: int, record: dict[str, Any], resumed: bool) -> None:  # noqa: D102
        super().finished(number, record, resumed)
        worrying = {k: v for k, v in self.counts.items() if k != "ok"}
        counts = "  ".join(f"{name} {count}" for name, count in sorted(worrying.items()))
        self._bar.update(self._task, advance=1, counts=counts)

    def note(self, event: str, **facts: Any) -> None:  # noqa: D102
        told = ", ".join(f"{name} {value}" for name, value in facts.items())
        self._bar.console.print(f"{event}{': ' if told else ''}{told}", markup=False)


def monitor_for(total: int, *, json_log: bool = False) -> Monitor:
    """Return the monitor that fits where standard error goes."""
    if json_log:
        return JsonMonitor(total)
    return TerminalMonitor(total) if sys.stderr.isatty() else PlainMonitor(total)

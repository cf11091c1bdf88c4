"""Errors that say which file, row and column is at fault, and what to do about it."""

import errno
from pathlib import Path


class InputError(ValueError):
    """Input or settings that cannot be used.

    Parameters
    ----------
    problem : str
        What is wrong, in one sentence without a full stop.
    remedy : str
        What the user can do about it.
    file, row, column : optional
        Where it is. ``row`` counts as a spreadsheet does: the header is row 1.
    code : str
        A short, stable, lower-case name of the kind of fault, for tables and tests.

    Examples
    --------
    >>> print(InputError('no site', remedy='Name it', file='cohort.csv', row=3, column='site'))
    cohort.csv, row 3, column 'site': no site. Name it
    """

    def __init__(
        self,
        problem: str,
        *,
        remedy: str,
        file: str | Path | None = None,
        row: int | None = None,
        column: str | None = None,
        code: str = "unusable_input",
    ) -> None:
        self.problem = problem
        self.remedy = remedy
        self.file = None if file is None else str(file)
        self.row = row
        self.column = column
        self.code = code
        super().__init__(problem)

    def __str__(self) -> str:
        parts = [self.file] if self.file else []
        if self.row is not None:
            parts.append(f"row {self.row}")
        if self.column is not None:
            parts.append(f"column '{self.column}'")
        where = ", ".join(parts)
        return f"{where + ': ' if where else ''}{self.problem}. {self.remedy}"

    def __reduce__(self) -> tuple[object, ...]:
        # The default rebuilds from ``args`` alone and would lose the keywords between processes.
        return (_rebuild, (type(self), self.__dict__))


def _rebuild(cls: type[InputError], state: dict[str, object]) -> InputError:
    error = cls.__new__(cls)
    ValueError.__init__(error, state["problem"])
    error.__dict__.update(state)
    return error


def disk_is_full(error: BaseException) -> bool:
    """Say whether an error means that there is no room: it is then no fault of the image at hand.

    Examples
    --------
    >>> disk_is_full(OSError(errno.ENOSPC, 'full')), disk_is_full(OSError(errno.EACCES, 'not yours'))
    (True, False)
    """
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    return "No space left on device" in str(error)


# Not a fault of offsite: what to say, what to do, and the code. A name stands first for others.
_FULL = (
    "there is no room left on the disk",
    "Free some and run again: what is done is kept",
    "disk_full",
)
_DENIED = (
    "you may not read or write this",
    "Get the right to it, or name another place",
    "permission_denied",
)
_READ_ONLY = ("the disk is read-only", "Name a place that can be written to", "read_only")
_AWAY = (
    "the disk or network does not answer",
    "Run again when it does: what is done is kept",
    "read_failed",
)
_MANY = ("too many files are open", "Use fewer --workers, or raise `ulimit -n`", "too_many_files")
_LONG = (
    "the file would be larger than is allowed here",
    "Raise `ulimit -f`, or name another disk",
    "disk_full",
)
_OF_SYSTEM = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EFBIG: _LONG,
    errno.EACCES: _DENIED,
    errno.EPERM: _DENIED,
    errno.EROFS: _READ_ONLY,
    errno.EIO: _AWAY,
    errno.ESTALE: _AWAY,
    errno.ETIMEDOUT: _AWAY,
    errno.EHOSTDOWN: _AWAY,
    errno.ENOTCONN: _AWAY,
    errno.EREMOTEIO: _AWAY,
    errno.EMFILE: _MANY,
    errno.ENFILE: _MANY,
}
# Databases and libraries say it in words of their own.
_IN_WORDS = {
    "no space left on device": _FULL,
    "database or disk is full": _FULL,
    "disk quota exceeded": _FULL,
    "readonly database": _READ_ONLY,
    "unable to open database file": _DENIED,
}


def fault_of_system(error: BaseException) -> InputError | None:
    """Return what to say of a disk, a right or a limit that is at fault; None for another error.

    Looks at the error and at what caused it.

    Examples
    --------
    >>> print(fault_of_system(OSError(errno.EROFS, 'Read-only file system', '/mnt/out')))
    /mnt/out: the disk is read-only. Name a place that can be written to
    """
    link: BaseException | None = error
    for _ in range(20):
        if link is None:
            return None
        known = _OF_SYSTEM.get(link.errno or 0) if isinstance(link, OSError) else None
        text = str(link).lower()
        known = known or next((of for words, of in _IN_WORDS.items() if words in text), None)
        if known is not None:
            file = link.filename if isinstance(link, OSError) else None
            problem, remedy, code = known
            return InputError(problem, remedy=remedy, file=file, code=code)
        link = link.__cause__ or link.__context__
    return None


class InputErrors(InputError):
    """Several faults found in one pass, so that a table is mended once and not fault by fault."""

    def __init__(self, faults: list[InputError]) -> None:
        if not faults:
            raise ValueError("InputErrors needs at least one fault")
        first = faults[0]
        super().__init__(
            first.problem,
            remedy=first.remedy,
            file=first.file,
            row=first.row,
            column=first.column,
            code=first.code,
        )
        self.faults = faults

    def __str__(self) -> str:
        shown = [str(fault) for fault in self.faults[:20]]
        if len(self.faults) > len(shown):
            shown.append(
                f"... and {len(self.faults) - len(shown)} more faults of this kind or others"
            )
        return "\n".join(shown)

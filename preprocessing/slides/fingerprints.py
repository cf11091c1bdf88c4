"""Whether a slide changed: some formats spread over several files."""

from pathlib import Path

from offsite.errors import InputError
from offsite.files import digest_of, fingerprint
from offsite.preprocessing.formats.companions import companions


def slide_fingerprint(path: str | Path) -> str:
    """A digest (hex) of the slide's content; "" if the file cannot be read."""
    file = Path(path)
    try:
        parts = [fingerprint(file)]
        for companion in companions(file):
            parts += [companion.name, fingerprint(companion)]
    except OSError:
        return ""
    return parts[0] if len(parts) == 1 else digest_of(parts)


def changed_while_read(path: str | Path) -> InputError:
    """Return the refusal of a slide of which not all was read in the same state."""
    return InputError(
        "the slide changed while it was read",
        file=path,
        remedy="Wait until it is copied, and run again",
        code="changed_while_read",
    )

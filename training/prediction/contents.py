"""Digests of what an input holds: whether it is the same as before, or a copy of another."""

from collections.abc import Callable, Sequence
from pathlib import Path

from offsite.files import digest_of, file_digest, fingerprint, is_sampled
from offsite.training.prediction.items import Item, Sibling


def content_of(item: Item) -> str:
    """A digest that changes with the content of an input and its parts; cheap for huge ones.

    Raises
    ------
    OSError
        It cannot be read.
    """
    return _digest(item.path, item.parts, fingerprint)


def sha256_of(item: Item, content: str, *, read: bool = True) -> str:
    """SHA-256 of an input, of one with parts that of the list of theirs.

    ``content`` is what `content_of` says, which is the same unless a file is huge; of a huge one
    that is not to be ``read`` to its end there is none ("").

    Raises
    ------
    OSError
        It cannot be read.
    """
    if not any(map(is_sampled, (item.path, *item.parts))):
        return content
    if not read:
        return ""
    return _digest(item.path, item.parts, file_digest)


def distinct_siblings(item: Item) -> list[Sibling]:
    """Return the patient's other images without copies of this one or of each other."""
    known = {content_of(item)}
    distinct = []
    for sibling, content in zip(item.siblings, contents_of_siblings(item), strict=True):
        if content not in known or not content:
            distinct.append(sibling)
        known.add(content)
    return distinct


def contents_of_siblings(item: Item) -> list[str]:
    """Digests of the patient's other images; "" for one that cannot be read."""
    digests = []
    for sibling in item.siblings:
        try:
            digests.append(_digest(sibling.path, sibling.parts, fingerprint))
        except OSError:
            digests.append("")
    return digests


def _digest(path: Path, parts: Sequence[Path], how: Callable[[Path], str]) -> str:
    first = how(path)
    return digest_of([first, *map(how, parts)]) if parts else first

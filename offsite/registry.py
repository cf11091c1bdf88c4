"""Names of things that can be chosen, and where their code lies, which is imported when asked for."""

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from importlib import import_module
from typing import Any, Generic, TypeVar

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from offsite.errors import InputError

T = TypeVar("T")


class Registry(Mapping[str, T], Generic[T]):
    """A mapping from names to code; listing the names imports nothing.

    Settings check a name against it without torch or scipy, and a new entry is one line of data.

    Parameters
    ----------
    what : str
        What an entry is, for messages: ``"detector"``.
    addresses : mapping of str to str
        ``"module:attribute"`` of each name.

    Examples
    --------
    >>> shapes = Registry("shape", {"path": "pathlib:PurePosixPath"})
    >>> list(shapes)
    ['path']
    >>> shapes.named("path")("a", "b")
    PurePosixPath('a/b')
    >>> shapes.named("pth")
    Traceback (most recent call last):
    ...
    offsite.errors.InputError: no shape is named 'pth'. Did you mean 'path'? Known are path
    """

    def __init__(self, what: str, addresses: Mapping[str, str]) -> None:
        self.what, self.addresses = what, dict(addresses)

    def __getitem__(self, name: str) -> T:
        module, _, attribute = self.addresses[name].partition(":")
        entry: T = getattr(import_module(module), attribute)
        return entry

    def __contains__(self, name: object) -> bool:
        return name in self.addresses

    def __iter__(self) -> Iterator[str]:
        return iter(self.addresses)

    def __len__(self) -> int:
        return len(self.addresses)

    def named(self, name: str) -> T:
        """Return what has the name.

        Raises
        ------
        InputError
            Code ``unknown_<what>``, with the nearest name and all that are known.
        """
        check_name(name, self.what, self)
        return self[name]


def check_name(name: str, what: str, known: Mapping[str, Any]) -> None:
    """Refuse a name that is not among those known.

    Raises
    ------
    InputError
        Code ``unknown_<what>``.
    """
    if name in known:
        return
    nearest = get_close_matches(name, known, n=1)
    hint = f"Did you mean '{nearest[0]}'? " if nearest else ""
    raise InputError(
        f"no {what} is named '{name}'",
        remedy=f"{hint}Known are {', '.join(known)}",
        code=f"unknown_{what.replace(' ', '_')}",
    )


class OneOf:
    """Annotates a string in settings: one of these names, and the schema lists them.

    The same as a `typing.Literal` of the names, for names that stand in a table.

    Examples
    --------
    >>> from typing import Annotated
    >>> from pydantic import TypeAdapter
    >>> TypeAdapter(Annotated[str, OneOf({"mean": 1, "max": 2})]).json_schema()
    {'enum': ['mean', 'max'], 'type': 'string'}
    """

    def __init__(self, names: Mapping[str, Any]) -> None:
        self.names = tuple(names)

    def __get_pydantic_core_schema__(
        self, source: type[str], handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.literal_schema(list(self.names))

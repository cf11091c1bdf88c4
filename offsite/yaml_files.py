"""YAML that means what it says: a key twice, ``no``, ``007`` and dates are asked about."""

import re
from pathlib import Path
from typing import Any

import yaml

from offsite.errors import InputError

_MOST_NODES = 1_000_000


def parse_yaml(text: str, file: str | Path | None = None) -> Any:
    """Read one YAML document.

    Parameters
    ----------
    text : str
        The document.
    file : path, optional
        Where it stands; errors name it.

    Raises
    ------
    InputError
        Code ``not_yaml``; ``key_twice`` (the last would win in silence); ``put_in_quotes`` for what
        YAML takes for something else than it looks: ``007`` and ``010`` (octal numbers), ``12:30``
        (a number of base 60), ``2024-05-01`` (a date), and ``no``, ``on``, ``null`` as keys.

    >>> parse_yaml("{px: 64, sites: [north]}")
    {'px': 64, 'sites': ['north']}
    >>> parse_yaml("{a: 1, a: 2}")
    Traceback (most recent call last):
    offsite.errors.InputError: row 1: 'a' is there twice. Keep the one that is right
    """
    try:
        value = yaml.load(text, Loader=_Strict)  # noqa: S506 -- a SafeLoader
        _check_size(value)
        return value
    except InputError as error:
        error.file = None if file is None else str(file)
        raise
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        raise InputError(
            f"not YAML ({getattr(error, 'problem', None) or type(error).__name__})",
            file=file,
            row=mark.line + 1 if mark else None,
            code="not_yaml",
            remedy="Mend the syntax",
        ) from error


def _check_size(value: Any) -> None:
    """Refuse what short text makes huge by naming itself again and again (``*anchor``)."""
    waiting, nodes = [value], 0
    while waiting:
        node = waiting.pop()
        nodes += 1
        if nodes > _MOST_NODES:
            raise InputError(
                "its anchors make more than it can hold",
                code="not_yaml",
                remedy="Write the values out",
            )
        if isinstance(node, dict):
            waiting += [*node.keys(), *node.values()]
        elif isinstance(node, list | tuple | set):
            waiting += node


class _Strict(yaml.SafeLoader):
    """The safe loader, but what it would read as something else is refused."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if key.tag.endswith((":bool", ":null")):
                raise _quote(key, "a key that YAML takes for true, false or nothing")
            if isinstance(key, yaml.ScalarNode):
                if (key.tag, key.value) in seen:
                    raise InputError(
                        f"'{key.value}' is there twice",
                        row=key.start_mark.line + 1,
                        code="key_twice",
                        remedy="Keep the one that is right",
                    )
                seen.add((key.tag, key.value))
        return super().construct_mapping(node, deep)


def _number(loader: _Strict, node: yaml.ScalarNode) -> int | float:
    text = node.value
    if ":" in text:
        raise _quote(node, "a number of base 60 to YAML")
    if not node.tag.endswith(":int"):
        return loader.construct_yaml_float(node)
    number = loader.construct_yaml_int(node)
    if re.fullmatch(r"[-+]?0[0-7_]+", text):
        raise _quote(node, f"{number} to YAML, which reads a leading zero as octal")
    return number


def _date(loader: _Strict, node: yaml.ScalarNode) -> None:
    raise _quote(node, "a date to YAML")


def _quote(node: yaml.ScalarNode, what: str) -> InputError:
    return InputError(
        f"{node.value or 'a blank'} is {what}",
        row=node.start_mark.line + 1,
        code="put_in_quotes",
        remedy=f'If it is a name, put it in quotes: "{node.value}"',
    )


_Strict.add_constructor("tag:yaml.org,2002:int", _number)
_Strict.add_constructor("tag:yaml.org,2002:float", _number)
_Strict.add_constructor("tag:yaml.org,2002:timestamp", _date)

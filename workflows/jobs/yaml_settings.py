"""Settings from a YAML file with overrides from the command line, every fault named."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from offsite.errors import InputError, InputErrors
from offsite.files import is_file
from offsite.yaml_files import parse_yaml

Model = TypeVar("Model")
MAX_BYTES = 1 << 20
_LISTED = "docs/settings.md lists every setting with its unit"
_IN_QUOTES = (
    "If it is a name, put it in quotes: YAML takes no, off, yes and on for false and true, null and"
    " ~ for nothing, and digits for numbers"
)
_REMEDIES = {
    "extra_forbidden": (
        "No such setting: check its spelling against docs/settings.md",
        "unknown_setting",
    ),
    "missing": ("Add it", "missing_setting"),
}


def load_settings(
    path: str | Path | None, model: type[Model], overrides: Sequence[str] = ()
) -> Model:
    """Read settings from YAML.

    Parameters
    ----------
    path : path, optional
        A YAML file of at most 1 MiB holding one mapping; without it the overrides are all.
    model : type
        The pydantic model (or union of models) that it must fit.
    overrides : sequence of str
        ``a.b=value`` each; the value is read as YAML, so ``splits.held_out_sites=[east]`` works.

    Raises
    ------
    InputErrors
        Every fault with the file and the setting's name.
    """
    file = None if path is None else Path(path)
    return validate(read_values(file, overrides), model, file)


def read_values(file: Path | None, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Read the mapping of a settings file and apply overrides; nothing is checked yet."""
    values = {} if file is None else _read(file)
    for override in overrides:
        _apply(values, override)
    return values


def validate(
    values: dict[str, Any], model: type[Model], file: Path | None, *, trained: bool = False
) -> Model:
    """Check settings that were read from ``file``; faults are named as by `load_settings`.

    ``trained``: they are those of a run that is done, which nobody asks to train again.
    """
    try:
        return TypeAdapter(model).validate_python(values, context={"trained": trained})
    except ValidationError as error:
        raise InputErrors([_fault(detail, file) for detail in error.errors()]) from error


def _read(file: Path) -> dict[str, Any]:
    if not is_file(file):
        raise InputError("no such settings file", file=file, remedy="Name an existing YAML file")
    if file.stat().st_size > MAX_BYTES:
        raise InputError("larger than 1 MiB", file=file, remedy="Settings are a short YAML mapping")
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(
            "its text is not UTF-8", file=file, code="encoding", remedy="Save it as UTF-8"
        ) from error
    except OSError as error:
        raise InputError(
            f"cannot be read ({error.strerror})", file=file, remedy="Name a plain YAML file"
        ) from error
    values = parse_yaml(text, file)
    if not isinstance(values, dict):
        raise InputError(
            "not a mapping of settings", file=file, remedy="Write one 'name: value' a line"
        )
    return values


def _apply(values: dict[str, Any], override: str) -> None:
    name, equals, text = override.partition("=")
    if not equals or not name:
        raise InputError(
            f"'{override}' sets nothing", remedy="Write --set name=value, as in --set fit.epochs=20"
        )
    try:
        value = parse_yaml(text)
    except InputError as error:
        raise InputError(
            f"--set {override}: {error.problem}", code=error.code, remedy=error.remedy
        ) from error
    *groups, last = name.split(".")
    for group in groups:
        inner = values.setdefault(group, {})
        if not isinstance(inner, dict):
            raise InputError(
                f"'{group}' in '{override}' is a value, not a group",
                remedy="Set a name that stands in the settings file",
            )
        values = inner
    values[last] = value


def _fault(detail: Any, file: Path | None) -> InputError:
    where = ".".join(str(part) for part in detail["loc"]) or "the file"
    given = detail.get("input")
    shown = f" (given: {given!r})"[:80] if isinstance(given, str | int | float | bool) else ""
    remedy, code = _REMEDIES.get(detail["type"], (_LISTED, "bad_setting"))
    if detail["type"] in ("string_type", "literal_error", "enum") and not isinstance(
        given, str | list | dict
    ):
        shown = "" if given is None else shown
        remedy, code = _IN_QUOTES, "put_in_quotes"
    return InputError(f"{where}: {detail['msg']}{shown}", file=file, remedy=remedy, code=code)

"""The first screen of ``offsite``: what stands on it, in which order, and what is spelt otherwise."""

import inspect
from collections.abc import Callable
from typing import Any

import typer
from typer.core import TyperGroup

START, DATA, MODELS, SITES = "Start", "Data", "Models", "Hospitals and patients"
SCREEN = {
    START: ("demo", "doctor"),
    DATA: ("cohort", "workflow"),
    MODELS: ("train", "evaluate", "compare", "encoder", "model"),
    SITES: ("site", "patient", "predict"),
}
"""Panels of the first screen with their commands, in order."""

ALIASES = {
    "tile": "workflow tile",
    "embed": "workflow embed",
    "prepare": "workflow prepare",
    "track": "workflow track",
    "register": "model register",
    "calibrate": "site calibrate",
    "twins": "encoder twins",
    "config check": "workflow check",
    "config page": "workflow settings",
    "config schema": "workflow schema",
}
"""Spellings of before, which scripts and pages hold, with what they are called now."""


def panel_of(name: str) -> str:
    """Return the panel of a command of the first screen."""
    return next(panel for panel, names in SCREEN.items() if name in names)


class FirstScreen(TyperGroup):
    """The commands in the order of `SCREEN`, then the hidden ones."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names in the order that they are shown in."""
        shown = [name for names in SCREEN.values() for name in names]
        return [*shown, *sorted(set(self.commands) - set(shown))]


def add_aliases(app: typer.Typer) -> None:
    """Add each spelling of `ALIASES` as a hidden command that does what its present name does."""
    groups: dict[str, typer.Typer] = {}
    for old, new in ALIASES.items():
        callback = command_named(app, new)
        *above, name = old.split()
        target = app
        for group in above:
            if group not in groups:
                groups[group] = typer.Typer(no_args_is_help=True)
                app.add_typer(groups[group], name=group, hidden=True)
            target = groups[group]
        target.command(name, hidden=True, epilog=f"Now spelt: offsite {new}")(callback)


def fill_paragraphs(app: typer.Typer) -> None:
    """Let help texts be wrapped by the width of the terminal, and not by that of the source."""
    for info in app.registered_commands:
        if info.callback is not None:
            paragraphs = inspect.getdoc(info.callback) or ""
            info.help = "\n\n".join(" ".join(p.split()) for p in paragraphs.split("\n\n"))
    for group in app.registered_groups:
        if group.typer_instance is not None:
            fill_paragraphs(group.typer_instance)


def command_named(app: typer.Typer, words: str) -> Callable[..., Any]:
    """Return the function behind a command such as ``workflow tile``."""
    *above, name = words.split()
    for group in above:
        named = [info.typer_instance for info in app.registered_groups if info.name == group]
        if not named or named[0] is None:
            raise LookupError(words)
        app = named[0]
    for info in app.registered_commands:
        if info.callback is not None and name == (info.name or info.callback.__name__):
            return info.callback
    raise LookupError(words)

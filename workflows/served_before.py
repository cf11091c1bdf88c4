"""Versions registered under an earlier name of the serving module still load.

The registry keeps the name of the module that loads a version. Before the rooms became one package
it was ``workflows.serving``, which no installed package of ours owns any more. MLflow imports this
module by itself (entry point ``mlflow.run_context_provider``, read as MLflow starts), and from then
on the old name leads to the same code.
"""

import sys
from types import ModuleType
from typing import Any

EARLIER = "workflows.serving"


class _EarlierName(ModuleType):
    """Stands for the serving module; imports it, and torch with it, when it is used."""

    def __getattr__(self, name: str) -> Any:
        # A look at `__path__` or `__file__` is the import system's, not a use.
        if name.startswith("__"):
            raise AttributeError(name)
        from offsite.workflows import serving

        return getattr(serving, name)


class ServedBefore:
    """A provider of a run's tags that adds none: the plug-in that MLflow loads as it starts."""

    def in_context(self) -> bool:
        """Return whether tags are added: never."""
        return False

    def tags(self) -> dict[str, str]:
        """Return the tags that are added: none."""
        return {}


sys.modules.setdefault(EARLIER, _EarlierName(EARLIER))

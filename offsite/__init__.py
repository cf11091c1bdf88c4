"""Medical-imaging models that hold up at hospitals they were never trained on.

What most people need, each with an example in docs/python.md:

- `evaluate`: a model's predictions, of any origin, measured at every site; gives a `Report`;
- `SCMIL`: multiple-instance classification of bags of features, trained on your arrays;
- `open_slide`: a whole-slide image, and its tiles at a physical scale; gives a `Slide`;
- `load_model`: a model package or a registered version, to predict new files; gives a `Model`;
- `InputError`: what is raised for input that cannot be used; it says what to do.

Importing offsite loads none of it: each name is loaded when it is first asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from offsite._evaluate import Report as Report
    from offsite._evaluate import evaluate as evaluate
    from offsite._model import Model as Model
    from offsite._model import load_model as load_model
    from offsite._sc_mil import SCMIL as SCMIL
    from offsite._slide import Slide as Slide
    from offsite._slide import Tile as Tile
    from offsite._slide import open_slide as open_slide
    from offsite.errors import InputError as InputError

__all__ = [
    "SCMIL",
    "InputError",
    "Model",
    "Report",
    "Slide",
    "Tile",
    "evaluate",
    "load_model",
    "open_slide",
]

_MODULES = {
    "SCMIL": "_sc_mil",
    "InputError": "errors",
    "Model": "_model",
    "Report": "_evaluate",
    "Slide": "_slide",
    "Tile": "_slide",
    "evaluate": "_evaluate",
    "load_model": "_model",
    "open_slide": "_slide",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("offsite")
    if name not in _MODULES:
        raise AttributeError(f"module 'offsite' has no attribute '{name}'")
    value = getattr(import_module(f"offsite.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]

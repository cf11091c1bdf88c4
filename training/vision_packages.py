"""The optional packages timm and transformers, imported beside whatever build of torch there is."""

import sys
from contextlib import suppress
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from types import ModuleType

from offsite.errors import InputError

_OPERATORS = ("nms", "qnms")
"""Of torchvision: those whose mere declaration its Python part asks for."""


def timm_package() -> ModuleType:
    """Return timm.

    Raises
    ------
    InputError
        Code ``missing_package``: it is not installed, or stops when it is imported.
    """
    return _package("timm", "timm")


def transformers_package() -> ModuleType:
    """Return transformers.

    Raises
    ------
    InputError
        Code ``missing_package``: it is not installed, or stops when it is imported.
    """
    return _package("transformers", "foundation")


def remedy_for(extra: str) -> str:
    """Return how an extra is installed without another torch taking the place of this one.

    Examples
    --------
    >>> remedy_for("timm").startswith("Install it beside this torch: pip install 'offsite[timm]'")
    True
    """
    torch = version("torch").partition("+")[0]
    return f"Install it beside this torch: pip install 'offsite[{extra}]' torch=={torch}"


def _package(name: str, extra: str) -> ModuleType:
    try:
        _torchvision()
        return import_module(name)
    except (ImportError, RuntimeError) as error:
        absent = sys.modules.get(name, "") is None or find_spec(name) is None
        problem = "is not installed" if absent else f"cannot be imported ({error})"
        raise InputError(
            f"the package {name} {problem}", remedy=remedy_for(extra), code="missing_package"
        ) from error


def _torchvision() -> None:
    """Make torchvision importable where it is installed; both packages import it.

    Its compiled operators load only beside the very build of torch (for processors or for one CUDA)
    that they were made for; a build that does not fit stops the import. No network here calls them:
    where they do not load they are declared, and calling one would raise.
    """
    try:
        with suppress(ModuleNotFoundError):
            import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
        _forget("torchvision")
        _declare()
        import_module("torchvision")


def _declare() -> None:
    import torch

    for name in _OPERATORS:
        if not hasattr(torch.ops.torchvision, name):
            signature = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
            torch.library.define(f"torchvision::{name}", signature)


def _forget(package: str) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        del sys.modules[name]

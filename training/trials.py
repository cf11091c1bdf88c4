"""A trial of what offsite needs on a machine, as `offsite doctor` runs it."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import packages_distributions, version
from importlib.util import find_spec


@dataclass(frozen=True)
class Trial:
    """One trial of the real thing.

    Attributes
    ----------
    name : str
        What is tried.
    run : callable
        ``run()`` returns what to tell, or raises.
    remedy : str
        What to do where it fails.
    needed : bool
        Whether something essential fails without it.
    """

    name: str
    run: Callable[[], str]
    remedy: str
    needed: bool = True


def installed(package: str) -> str:
    """Return the name and version of a package that is imported as ``package``.

    Raises
    ------
    RuntimeError
        It is not installed.

    Examples
    --------
    >>> installed("json")
    'json'
    """
    if find_spec(package) is None:
        raise RuntimeError(f"{package} is not installed")
    names = packages_distributions().get(package, ())  # OpenCV is imported as cv2
    return " ".join([package, *(version(name) for name in names[:1])])

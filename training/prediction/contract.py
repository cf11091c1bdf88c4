"""What prediction asks of a modality, and all that it knows of one."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from offsite.children.pool import Place
from offsite.errors import InputError
from offsite.training.prediction.codes import Code
from offsite.training.prediction.items import Item

if TYPE_CHECKING:
    from torch import Tensor


WORDS = "words"
"""Where the arrays of a package tell words, see `AnswerInWords`."""


class ModelPackage(Protocol):
    """A verified package, as a predictor sees it; see docs/model_package.md."""

    @property
    def path(self) -> Path:
        """Its folder."""

    @property
    def record(self) -> Any:
        """The content of ``model.json``."""

    @property
    def weights(self) -> "Mapping[str, Tensor]":
        """The network's weights by name."""

    def arrays(self, prefix: str) -> dict[str, np.ndarray]:
        """Return the arrays of ``reference.npz`` under ``prefix/``, without the prefix."""


@dataclass(frozen=True)
class FileChoice:
    """Which files a model reads, where these are not images.

    Attributes
    ----------
    takes : callable
        ``takes(path)``: whether a file of a folder is read, by its name.
    others : str
        What the others of a folder are, in the plural: they are counted, and left out.
    group : callable
        ``group(paths)``: the files that are of one case together, the one that is read first.
    locate : callable
        ``locate(folder, names)``: the file of each case of a table that names its cases alone;
        what has none is left out.
    """

    takes: Callable[[Path], bool]
    others: str
    group: Callable[[list[Path]], list[tuple[Path, ...]]]
    locate: Callable[[Path, Sequence[str]], Mapping[str, Path]]


class PackageUnfit(InputError):
    """A package that this machine must not use: what it was trained with is another here."""


@dataclass(frozen=True, kw_only=True)
class Quality:
    """Whether an image can be answered at all."""

    gradable: bool = True
    score: float | None = None  # 0..1, larger is better
    reasons: tuple[str, ...] = ()
    assessed: bool = True


@dataclass(frozen=True, kw_only=True, eq=False)
class Prepared:
    """A model-ready input.

    Attributes
    ----------
    payload : object
        What ``infer`` takes; held for a bounded number of inputs at a time.
    view : numpy.ndarray or None
        H x W x 3, uint8: the picture a person is shown, of `offsite.preprocessing.views.shrunk`.
    pictures : dict of str to bytes
        In place of a view: its pictures, of `offsite.preprocessing.views.pictures_of`.
    content : str
        SHA-256 of the very bytes that were decoded, where they were held in memory; else "", and
        whether the files changed meanwhile is looked at.
    quality : Quality
    facts : dict
        JSON-able facts for the record of the case.
    notes : tuple of str
        What a reader must know of the answer; they stand last among its reasons.
    """

    payload: Any
    view: np.ndarray | None = None
    pictures: Mapping[str, bytes] = field(default_factory=dict)
    content: str = ""
    quality: Quality = field(default_factory=lambda: Quality(assessed=False))
    facts: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class AnswerInWords:
    """An image, and the answer to it, in the words of its model.

    Attributes
    ----------
    shares : numpy.ndarray
        K: the share of each word in the image; they sum to 1.
    falls : numpy.ndarray
        K: by how much the log-odds of the class with the largest logit fall without the word; below 0
        the word speaks against it. NaN where the image lacks the word or has no other.
    """

    shares: np.ndarray
    falls: np.ndarray


@dataclass(frozen=True, kw_only=True, eq=False)
class ModelAnswer:
    """What the model says of one input.

    Attributes
    ----------
    logits : numpy.ndarray
        C, before the softmax and before any calibration.
    embedding : numpy.ndarray or None
        E, what the classifier reads.
    trunk : numpy.ndarray or None
        T, what the pretrained part saw, where that is something else.
    facts : dict
        JSON-able facts for the record of the case.
    save : callable or None
        Writes pictures into the folder of the case and returns their names by kind: ``overlay``
        (PNG with transparency, the shape of the view), ``heatmap``, ``geojson``.
    words : AnswerInWords or None
        Where the package has words.
    """

    logits: np.ndarray
    embedding: np.ndarray | None = None
    trunk: np.ndarray | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    save: Callable[[Path], dict[str, str]] | None = None
    words: AnswerInWords | None = None


class Predictor(Protocol):
    """One modality with one model.

    Attributes
    ----------
    batch_size : int
        Inputs of one call of ``infer``.
    concurrent : bool
        Whether ``infer`` runs in several threads at once, as ``prepare`` does: on a processor.
    """

    batch_size: int
    concurrent: bool

    def prepare(self, item: Item) -> Prepared:
        """Read one input.

        Raises
        ------
        Rejected
            Why it cannot be answered.
        """

    def infer(self, batch: Sequence[Prepared]) -> list[ModelAnswer]:
        """Run the model; a finding for each input, in order."""

    def shrink(self) -> bool:
        """Use less memory from now on, or return False where nothing is left to give."""

    def describe(self) -> dict[str, Any]:
        """Return the settings that the results depend on (JSON-able), for the resume key."""


@runtime_checkable
class OpensElsewhere(Protocol):
    """A predictor that opens and decodes files where it is told, by what a child can be sent.

    Another's ``prepare`` runs in this process: a file that crashes its library ends the run.
    """

    def open_at(self, place: Place) -> None:
        """Open files there from now on."""


class Rejected(Exception):
    """An input without an answer: its code and one sentence without names in it."""

    def __init__(self, code: Code, message: str, view: np.ndarray | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.view = view

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.code, self.message, self.view)

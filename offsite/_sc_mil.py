"""SC-MIL and its baselines on arrays of one's own."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from pydantic import ValidationError

from offsite._bags import checked_bags, cohort_of, write_bags
from offsite.errors import InputError
from offsite.files import read_json
from offsite.pathology.bags import Bags
from offsite.pathology.inference import BagPrediction, SlideNetwork, load_slide_model, predict_bags
from offsite.pathology.settings import PathologySettings, SlideFitSettings
from offsite.pathology.tile_encoders.names import check_encoder_name
from offsite.pathology.tile_encoders.registry import EncoderSettings, load_encoder
from offsite.pathology.training import train_pathology
from offsite.preprocessing.cohort.splits import SplitSettings, split_cohort
from offsite.preprocessing.tiles.table import TileSettings
from offsite.training.run_folder import RECORD
from offsite.workflows.package.making import ModelFacts, package_run
from offsite.workflows.predict.running import device_named


class SCMIL:
    """A classifier of bags of instances: SC-MIL (Juyal et al., WACV 2024) or a baseline of it.

    It is the training of `offsite train`, on arrays: the same data, settings and seed give the
    same weights. Of the patients 15 % are set aside to choose the epoch whose weights are kept
    (with fewer than ten of a class the last one is) and to calibrate the package; none is kept for a test, so measure it on other bags.

    Parameters
    ----------
    method : str
        ``sc_mil``, ``cross_entropy``, ``balanced_sampling``, ``focal``, ``ldam_drw`` ...
        (docs/sc_mil.md lists them).
    epochs : int, optional
        Passes over the bags; by default 40.
    seed : int
        Of the division, the first weights and all draws.
    device : str
        ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps``.

    Attributes
    ----------
    classes_ : tuple of str
        The columns of `predict_proba`, in the order that `fit` was given, or sorted.

    Raises
    ------
    InputError
        There is no such method or device, or a number is out of its range.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> labels = ["benign", "malignant"] * 8
    >>> bags = [rng.normal(label == "malignant", 1, (12, 4)) for label in labels]
    >>> model = SCMIL(epochs=20, device="cpu").fit(bags, labels)
    >>> model.predict_proba(bags[:3]).shape
    (3, 2)
    >>> [round(float(weights.sum()), 3) for weights in model.attention(bags[:2])]
    [1.0, 1.0]
    """

    def __init__(
        self,
        method: str = "sc_mil",
        epochs: int | None = None,
        seed: int = 0,
        device: str = "auto",
    ) -> None:
        device_named(device)
        given = {"seed": seed, "device": device} | (
            {"epochs": epochs} if epochs is not None else {}
        )
        try:
            self._settings = PathologySettings.model_validate(
                {"fit": SlideFitSettings.model_validate(given)}
            )
            self._division = SplitSettings(test=0.0, seed=seed)
        except ValidationError as error:
            first = error.errors()[0]
            raise InputError(
                f"{first['loc'][-1]} {first['input']!r} cannot be used",
                remedy=first["msg"],
            ) from error
        self._settings.check_method(method, n_classes=2)
        self._settings = self._settings.model_copy(update={"method": method})
        self.classes_: tuple[str, ...] = ()
        self._ordered = False  # whether the order of the classes was said
        self._model: SlideNetwork | None = None
        self._folder: TemporaryDirectory[str] | None = None

    def fit(
        self,
        bags: Sequence[Any],
        labels: Sequence[Any],
        sites: Sequence[Any] | None = None,
        patients: Sequence[Any] | None = None,
        classes: Sequence[Any] | None = None,
    ) -> "SCMIL":
        """Train on bags and their labels.

        Parameters
        ----------
        bags : sequence of arrays or tensors
            n x D each; n may differ, D may not. They are rounded to half precision.
        labels : sequence of str or int
            Class of each bag.
        sites : sequence of str, optional
            Where each was made; each site is then represented among the patients set aside.
        patients : sequence of str, optional
            Whose each is, so that no patient is both trained on and set aside; by default each
            bag is another patient's.
        classes : sequence of str or int, optional
            The classes in order, the mildest first; by default the labels sorted, which for names
            is the alphabet's order.

        Raises
        ------
        InputError
            Bags of two widths, NaN, a class with one bag ...: the error names the bag's number.
        """
        arrays = checked_bags(bags)
        folder = TemporaryDirectory(prefix="offsite-scmil-")
        home = Path(folder.name)
        cohort = cohort_of(len(arrays), labels, sites, patients, home, classes)
        divided = split_cohort(cohort, self._division)
        features = write_bags(home / "features", arrays)
        train_pathology(divided, features, self._settings, home / "run")
        self.classes_, self._folder = cohort.classes, folder
        self._ordered = classes is not None
        facts = read_json(home / "run" / RECORD)["facts"]
        model = load_slide_model(home / "run" / "weights.safetensors", facts["architecture"])
        self._model = model.to(device_named(self._settings.fit.device))
        return self

    def predict_proba(self, bags: Sequence[Any]) -> np.ndarray:
        """Return the probability of each class for each bag, N x C float64; rows sum to 1."""
        return np.stack([answer.probabilities for answer in self._answers(bags)])

    def predict(self, bags: Sequence[Any]) -> list[str]:
        """Return the most probable class of each bag."""
        return [self.classes_[row.argmax()] for row in self.predict_proba(bags)]

    def attention(self, bags: Sequence[Any]) -> list[np.ndarray]:
        """Return the weight of each instance, an array of n for each bag; they sum to 1."""
        return [answer.attention for answer in self._answers(bags)]

    def save(
        self,
        folder: str | Path,
        encoder: str = "efficientnet-lite0",
        mpp: float = 0.5,
        px: int = 224,
        tissue: float = 0.5,
        positive: Sequence[Any] | None = None,
        title: str = "SC-MIL on arrays",
    ) -> Path:
        """Write a model package, which `offsite predict` and `offsite.load_model` take.

        Parameters
        ----------
        folder : path
            New, empty, or of a package that is to be replaced.
        encoder : str
            The tile encoder of offsite that made the features: `offsite predict` makes those of
            new slides with it.
        mpp, px, tissue : float, int, float
            Scale (um per px), side (px) and least share of tissue (0..1) of the tiles that it was
            given, as of `offsite.Slide.tiles`.
        positive : sequence of str or int, optional
            Classes that call for referral; by default all but the first. Where classes are names
            that `fit` was given no order of, a warning says which these are.
        title : str
            What the model is called.

        Raises
        ------
        InputError
            Nothing was fitted, the encoder makes features of another width, ``positive`` names
            none of the classes or all, or the folder holds other files.
        """
        model, run = self._fitted(), Path(self._folder.name if self._folder else "") / "run"
        check_encoder_name(encoder)
        of_encoder = EncoderSettings.model_validate({"name": encoder, "tile_px": px, "mpp": mpp})
        width = load_encoder(of_encoder).dimensions
        if width != len(model.centre):
            raise InputError(
                f"encoder {encoder} makes {width} numbers a tile, the bags have"
                f" {len(model.centre)}",
                remedy="Name the encoder that made them: save(folder, encoder='...')",
                code="other_encoder",
            )
        tiles = TileSettings(tile_px=px, mpp=mpp, min_tissue=tissue)
        architecture = read_json(run / RECORD)["facts"]["architecture"]
        facts = ModelFacts(
            name=title,
            target=title,
            task="slides",
            architecture=architecture["name"],
            architecture_settings=architecture,
            preprocessing={
                "tiles": tiles.model_dump(mode="json"),
                "encoder": of_encoder.model_dump(mode="json"),
            },
            mpp=mpp,
            positive=self._positive(positive),
        )
        return package_run(run, None, folder, facts)

    def _positive(self, named: Sequence[Any] | None) -> tuple[str, ...]:
        positive = self.classes_[1:] if named is None else tuple(map(str, named))
        if not positive or not set(positive) < set(self.classes_):
            raise InputError(
                f"positive names {', '.join(positive) or 'no class'}",
                remedy=f"Name some, not all, of {', '.join(self.classes_)}",
                code="unknown_class",
            )
        if (
            named is None
            and not self._ordered
            and not all(name.isdigit() for name in self.classes_)
        ):
            warnings.warn(
                f"referral is taken to be for {', '.join(positive)}: say save(folder, positive=[...])",
                stacklevel=3,
            )
        return positive

    def __repr__(self) -> str:
        fit = self._settings.fit
        return f"SCMIL(method={self._settings.method!r}, epochs={fit.epochs}, seed={fit.seed})"

    def _fitted(self) -> SlideNetwork:
        if self._model is None:
            raise InputError("the model is not fitted", remedy="Call fit first", code="not_fitted")
        return self._model

    def _answers(self, bags: Sequence[Any]) -> list[BagPrediction]:
        model = self._fitted()
        arrays = checked_bags(bags, width=len(model.centre))
        return [predict_bags(model, Bags.pack([bag]))[0] for bag in arrays]

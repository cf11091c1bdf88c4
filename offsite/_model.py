"""A trained model as it is used: from files to answers, with its reasons to abstain."""

import json
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd

from offsite.cores import usable_cores
from offsite.workflows.package.folder import Package
from offsite.workflows.predict.batch import BatchOptions, run_batch
from offsite.workflows.predict.output.tables import LINES, columns_in_words, columns_of
from offsite.workflows.predict.running import (
    device_named,
    inputs_for,
    opened_model,
    predictor_for,
)


class Model:
    """A verified model package. Made by `load_model`. Research use only.

    Attributes
    ----------
    name, version : str
        ``version`` is that of the registry, blank for a folder.
    classes : tuple of str
        In order.
    training_sites : tuple of str
        At any other site a quiet answer goes to a person until the site is calibrated.
    """

    def __init__(self, package: Package, device: str) -> None:
        self._package, self._device = package, device
        record = package.record
        self.name, self.version, self.classes = record.name, record.version, record.classes
        self.training_sites = record.training_sites
        self._predictor = predictor_for(package, device)

    def predict(
        self,
        paths: str | Path | Sequence[str | Path],
        site: str = "",
        output: str | Path | None = None,
        features: str | Path | None = None,
    ) -> pd.DataFrame:
        """Read new cases; what `offsite predict` does.

        Parameters
        ----------
        paths : path or sequence of paths
            Images, folders, or cohort tables (CSV or Parquet).
        site : str
            Where they were made, where no table says it.
        output : path, optional
            Folder to keep, with worklist, pages and heatmaps; run again it goes on.
        features : path, optional
            Folder of the files of a table's slides, for a model of another tool's features.

        Returns
        -------
        pandas.DataFrame
            A row per input, unusable ones included: the columns of ``results.csv``
            (docs/predict.md); ``status`` and ``code`` say what became of it, ``decision`` what
            should, ``prob_<class>`` are calibrated where ``calibrated`` says so.

        Raises
        ------
        InputError
            There is nothing to predict, or ``output`` holds other files.
        """
        if output is None:
            with TemporaryDirectory(prefix="offsite-predictions-") as folder:
                return self.predict(paths, site, Path(folder) / "results", features)
        names = [paths] if isinstance(paths, str | Path) else list(paths)
        options = BatchOptions(output=Path(output), workers=usable_cores())
        of_slides = None if features is None else Path(features)
        given = [Path(name) for name in names]
        inputs = inputs_for(self._package, given, site, options.output, of_slides)
        outcome = run_batch(self._package, self._predictor, inputs, options, self._device)
        lines = (outcome.folder / LINES).read_text(encoding="utf-8").splitlines()
        records = [json.loads(line) for line in lines]
        known = self._package.record.words
        words = known.names if known else ()
        for record in records:
            shares = record.get("probabilities") or {}
            record.update({f"prob_{name}": shares.get(name) for name in self.classes})
            record.update(columns_in_words(record, words))
        return pd.DataFrame(records, columns=list(columns_of(self.classes, len(words))))

    def __repr__(self) -> str:
        named = f"{self.name} {self.version}".strip()
        return f"<Model: {named}; {', '.join(self.classes)}>"


def load_model(model: str | Path, tracking_uri: str | None = None, device: str = "auto") -> Model:
    """Load a model, refusing one that is not exactly what was made.

    Parameters
    ----------
    model : str or path
        Folder of a model package, or ``models:/<name>@champion`` or ``models:/<name>/<version>``.
    tracking_uri : str, optional
        MLflow store of ``models:/...``; by default that of ``MLFLOW_TRACKING_URI``.
    device : str
        ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps``.

    Raises
    ------
    InputError
        There is no such model, store or device, or a file of the model was changed.
    """
    device_used = device_named(device)
    with opened_model(str(model), tracking_uri) as package:
        return Model(package, device_used)

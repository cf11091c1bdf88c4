"""The package behind a web address: what `mlflow models serve` loads.

The registry holds no code: MLflow imports this module from the installed offsite and gives it the
folder of the package. The answers are those of `offsite predict`, without pictures.
"""

from pathlib import Path
from typing import Any

import pandas as pd

from workflows.package.folder import load_package
from workflows.predict.items import item_of
from workflows.predict.judgement import Judge
from workflows.predict.passage import Passage, check_file
from workflows.predict.running import device_named, predictor_for

COLUMNS = (
    "image", "status", "code", "decision", "reasons", "prediction", "referable",
    "referable_probability", "ood_percentile",
)  # fmt: skip


class ServedModel:
    """A package as MLflow sees it.

    Parameters
    ----------
    path : path
        Folder of the package; refused unless every byte is as it was made.
    """

    def __init__(self, path: str | Path) -> None:
        package = load_package(path)
        self._predictor = predictor_for(package, device_named("auto"))
        self._judge = Judge(package)
        self._classes = package.record.classes

    def predict(self, data: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Answer a row for each row.

        Parameters
        ----------
        data : pandas.DataFrame
            ``image``: path of a file that the server can read; optionally ``site``.
        params : dict, optional
            None is known; MLflow passes it.

        Returns
        -------
        pandas.DataFrame
            ``COLUMNS`` and ``prob_<class>``; text, numbers, or None.
        """
        sites = data["site"] if "site" in data.columns else [""] * len(data)
        rows = [
            self._answer(Path(str(image)), str(site))
            for image, site in zip(data["image"], sites, strict=True)
        ]
        return pd.DataFrame(rows).astype(object)

    def _answer(self, path: Path, site: str) -> dict[str, Any]:
        passage = Passage(item_of(path, site=site))
        with passage.blamed():
            check_file(passage.item)
            passage.read(self._predictor)
        if passage.wants_inference and passage.prepared is not None:
            with passage.blamed():
                (finding,) = self._predictor.infer([passage.prepared])
                passage.answer(finding)
        record = passage.record(self._judge)
        record |= {"image": str(path), "reasons": "; ".join(record["reasons"])}
        shares = record.get("probabilities") or {}
        row = {name: record.get(name) for name in COLUMNS}
        return {**row, **{f"prob_{name}": shares.get(name) for name in self._classes}}


def _load_pyfunc(path: str) -> ServedModel:
    """Load the package in ``path``; the name is MLflow's."""
    return ServedModel(path)

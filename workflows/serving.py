"""The package behind a web address: what `mlflow models serve` loads.

The registry holds no code: MLflow imports this module from the installed offsite and gives it the
folder of the package. The answers are those of `offsite predict`, without pictures.
"""

import errno
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from offsite.children.limits import Limits
from offsite.children.pool import Children
from offsite.cores import usable_cores
from offsite.files import state_of
from offsite.training.prediction.codes import NOTICE
from offsite.training.prediction.contents import content_of, sha256_of
from offsite.training.prediction.contract import OpensElsewhere
from offsite.training.prediction.items import item_of
from offsite.workflows.package.folder import load_package
from offsite.workflows.predict.answers.judgement import Judge
from offsite.workflows.predict.output.tables import ACQUISITION, columns_of
from offsite.workflows.predict.passage import CHANGED, Passage, check_file
from offsite.workflows.predict.running import device_named, predictor_for
from offsite.workflows.server.identity import check_identity
from offsite.workflows.server.image_root import ImageRoot

MOST_ROWS = 1000
_LONGEST_NAME, _LONGEST_SITE = 4096, 200

# What one image by itself lacks: a number in a run, a patient's other images, copies, an alias.
# The columns of acquisition are of a run too: versions registered before have none.
_OF_A_RUN = (
    "number",
    "case",
    "patient",
    "eye",
    "duplicate_of",
    "model_version",
    *ACQUISITION,
)
_NUMBERS = ("probability", "threshold", "percentile", "score")


def served_columns(classes: Sequence[str]) -> tuple[str, ...]:
    """The columns of an answer: those of ``results.csv``, but for what only a run has."""
    return tuple(name for name in columns_of(classes) if name not in _OF_A_RUN)


def served_types(classes: Sequence[str]) -> dict[str, str]:
    """The MLflow type of each column of an answer, for the signature of a registered model."""
    shares = {f"prob_{name}" for name in classes}
    return {
        name: "double" if name in shares or name.endswith(_NUMBERS) else "string"
        for name in served_columns(classes)
    }


class ServedModel:
    """A package as MLflow sees it.

    Parameters
    ----------
    path : path
        Folder of the package; refused unless every byte is as it was made.
    images : ImageRoot
        The only folder that images are read from.
    """

    def __init__(self, path: str | Path, images: ImageRoot) -> None:
        package = load_package(path)
        self._images = images
        record = package.record
        self._predictor = predictor_for(package, device_named("auto"))
        if isinstance(self._predictor, OpensElsewhere):
            self._predictor.open_at(Children(usable_cores(), Limits()))
        self._judge = Judge(package)
        self._columns = served_columns(record.classes)
        self._facts = {"model": record.name, "model_sha256": package.digest, "notice": NOTICE}

    def predict(self, data: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Answer a row for each row.

        Parameters
        ----------
        data : pandas.DataFrame
            ``image``: a path in the folder of images; optionally ``site``. At most 1,000 rows.
        params : dict, optional
            None is known; MLflow passes it.

        Returns
        -------
        pandas.DataFrame
            :func:`served_columns`; text, numbers, or None.

        Raises
        ------
        MlflowException
            Status 400: more rows than a request may have.
        """
        if len(data) > MOST_ROWS:
            from mlflow.exceptions import MlflowException

            raise MlflowException.invalid_parameter_value(
                f"{len(data)} rows: a request may have {MOST_ROWS}"
            )
        sites = data["site"] if "site" in data.columns else [""] * len(data)
        rows = [
            self._answer(str(image), str(site)[:_LONGEST_SITE])
            for image, site in zip(data["image"], sites, strict=True)
        ]
        # As objects, so that what is not known stays None and is no NaN.
        return pd.DataFrame(rows, columns=list(self._columns), dtype=object)

    def _answer(self, name: str, site: str) -> dict[str, Any]:
        passage = Passage(item_of(Path(name[:_LONGEST_NAME]), site=site))
        with passage.blamed():
            passage.item = replace(passage.item, path=self._images.path_of(name))
            check_file(passage.item)
            files = [passage.item.path, *passage.item.parts]
            before = state_of(files)
            passage.read(self._predictor, shown=False)
            # The digest of what is no image would tell whether a file is one that is known.
            if passage.prepared is not None:
                content = passage.prepared.content
                passage.content = content or sha256_of(passage.item, content_of(passage.item))
                if not content and state_of(files) != before:
                    raise OSError(errno.ESTALE, CHANGED)
        if passage.wants_inference and passage.prepared is not None:
            with passage.blamed():
                (answer,) = self._predictor.infer([passage.prepared])
                passage.take(answer)
        record = self._judged(passage)
        shares = record.get("probabilities") or {}
        record |= {f"prob_{name}": share for name, share in shares.items()} | self._facts
        return {name: _plain(name, record.get(name)) for name in self._columns}

    def _judged(self, passage: Passage) -> dict[str, Any]:
        """The record of an input; an answer that cannot be judged is none."""
        with passage.blamed():
            return passage.record(self._judge)
        passage.answer = None
        return passage.record(self._judge)


def _plain(name: str, value: Any) -> Any:
    """Text, a number or None, as a cell of ``results.csv`` says it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, list | tuple):
        return value
    # An empty set is an answer, and not the same as none.
    return "; ".join(map(str, value)) or ("(empty)" if name.startswith("set_") else "")


def _load_pyfunc(path: str) -> ServedModel:
    """Load the package in ``path``, if it is the registered one; the name is MLflow's."""
    images = ImageRoot.of_environment()
    check_identity(path)
    return ServedModel(path, images)

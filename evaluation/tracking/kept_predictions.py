"""The test predictions of a registered version: what a later candidate is compared with.

They are kept in the store: the folder of a run is made anew by its next training, and may be gone.
Of images and patients the store gets digests under a key that stays with the job (HMAC-SHA-256):
without it, whoever reads the store could try all numbers that a patient may have.
"""

import hashlib
import hmac
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from offsite.errors import InputError
from offsite.evaluation.predictions.roles import SLIDE_LABEL
from offsite.evaluation.predictions.table import PROBABILITY_PREFIX, Predictions, load_predictions
from offsite.evaluation.tables.alignment import rows_of_test
from offsite.evaluation.tracking.registry import find_version
from offsite.evaluation.tracking.store import client_of
from offsite.files import file_digest

PREDICTIONS = "offsite.predictions"
KEY = "offsite.predictions_key"
_FILE = "predictions.parquet"
_NAMES = ("image", "patient")
_KEPT = (*_NAMES, "site", "site_role", "split", "label")


def keep_predictions(
    uri: str, name: str, version: str, predictions: Predictions, key: bytes
) -> None:
    """Keep the test rows of a run's predictions with the version made of it.

    Parameters
    ----------
    uri, name, version : str
        Tracking store, registered model and its version.
    predictions : Predictions
        Those of the run; other splits are left out.
    key : bytes
        Of the names; it is not sent.
    """
    with tempfile.TemporaryDirectory(prefix="offsite-predictions-") as temporary:
        file = Path(temporary) / _FILE
        _table(rows_of_test(predictions), _keyed(key)).to_parquet(file, index=False)
        _keep(uri, name, version, file, _name_of(key))


def hand_on_predictions(uri: str, name: str, version: str, heir: str) -> None:
    """Keep the predictions of a version, where it has any, with another of the same weights."""
    with tempfile.TemporaryDirectory(prefix="offsite-predictions-") as temporary:
        file = _fetched(uri, name, version, Path(temporary))
        if file is not None:
            _keep(uri, name, heir, file, _key_of(uri, name, version))


def kept_predictions(
    uri: str, name: str, version: str, like: Predictions, key: bytes | None
) -> Predictions | None:
    """The test predictions of a version, or ``None`` where the store does not hold them.

    Parameters
    ----------
    uri, name, version : str
        Tracking store, registered model and its version.
    like : Predictions
        Predictions whose images and patients are called by their names again; those that it
        does not know keep their digests.
    key : bytes or None
        The one that they were kept under.

    Raises
    ------
    InputError
        The file is not the one that was kept, or the key is another or not here
        (``other_names_key``).
    """
    digest = _digest_of_version(_key_of(uri, name, version), key, f"{name} version {version}")
    with tempfile.TemporaryDirectory(prefix="offsite-predictions-") as temporary:
        file = _fetched(uri, name, version, Path(temporary))
        if file is None:
            return None
        predictions = _as_answered(load_predictions(file), like)
    for column in _NAMES:
        names = {digest(text): text for text in like.table[column].astype(str).unique()}
        predictions.table[column] = [names.get(text, text) for text in predictions.table[column]]
    return predictions


def _as_answered(kept: Predictions, like: Predictions) -> Predictions:
    """Mark rows that repeat their patient's answer: earlier versions kept one for each slide."""
    patients = kept.table.groupby(["site", "patient"]).ngroup().to_numpy()
    first = kept.probabilities[np.unique(patients, return_index=True)[1]]
    if SLIDE_LABEL in like.table and np.allclose(first[patients], kept.probabilities, atol=1e-6):
        kept.table[SLIDE_LABEL] = kept.table["label"]
    return kept


def _table(rows: Predictions, digest: Callable[[str], str]) -> pd.DataFrame:
    table = rows.table[list(_KEPT)].astype(str)
    for column in _NAMES:
        table[column] = table[column].map(digest)
    for index, name in enumerate(rows.classes):
        table[f"{PROBABILITY_PREFIX}{name}"] = rows.probabilities[:, index]
    return table


def _keyed(key: bytes) -> Callable[[str], str]:
    # A blank stays blank: an image without a patient is its own.
    return lambda name: hmac.digest(key, name.encode(), "sha256").hex()[:32] if name else ""


def _without_key(name: str) -> str:
    """The digest of earlier versions."""
    return hashlib.sha256(name.encode()).hexdigest()[:32] if name else ""


def _name_of(key: bytes) -> str:
    """What a key is called where it must not be told."""
    return hmac.digest(key, b"name of this key", "sha256").hex()[:16]


def _key_of(uri: str, name: str, version: str) -> str:
    known = find_version(client_of(uri, create=False), f"models:/{name}/{version}")
    return str(known.tags.get(KEY, ""))


def _digest_of_version(wanted: str, key: bytes | None, version: str) -> Callable[[str], str]:
    if not wanted:
        return _without_key
    if key is None or _name_of(key) != wanted:
        here = "there is none here" if key is None else "the one here is another"
        raise InputError(
            f"the predictions of {version} were kept under a key for names, and {here}",
            remedy="Copy the key (names.key, beside the job that registered the version) to this"
            " machine, and name it in tracking.names_key",
            code="other_names_key",
        )
    return _keyed(key)


def _keep(uri: str, name: str, version: str, file: Path, key_name: str) -> None:
    client, digest = client_of(uri), file_digest(file)
    run = find_version(client, f"models:/{name}/{version}").run_id
    client.log_artifact(str(run), str(file), _artifact_folder(digest))
    client.set_model_version_tag(name, version, PREDICTIONS, digest)
    if key_name:
        client.set_model_version_tag(name, version, KEY, key_name)


def _fetched(uri: str, name: str, version: str, folder: Path) -> Path | None:
    from mlflow.exceptions import MlflowException

    client = client_of(uri, create=False)
    known = find_version(client, f"models:/{name}/{version}")
    digest = known.tags.get(PREDICTIONS, "")
    if not digest:
        return None
    artifact = f"{_artifact_folder(digest)}/{_FILE}"
    try:
        file = Path(client.download_artifacts(str(known.run_id), artifact, str(folder)))
    except (MlflowException, OSError):
        return None
    if file_digest(file) != digest:
        raise InputError(
            f"the predictions of {name} version {version} are not those that were kept",
            remedy="Register its run again, and ask who changed the store",
            code="predictions_changed",
        )
    return file


def _artifact_folder(digest: str) -> str:
    return f"predictions-{digest[:12]}"

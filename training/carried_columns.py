"""Columns of the cohort that a run's predictions keep, so that groups of patients can be measured."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from offsite.files import file_digest, read_json, replacing, write_json
from offsite.training.run_folder import RECORD

PREDICTIONS = "predictions.parquet"


def carry_columns(run_folder: str | Path, cohort: pd.DataFrame, columns: Sequence[str]) -> None:
    """Write some columns of the cohort, and no other, into the predictions of a finished run.

    Nothing is trained for it: a run whose columns were chosen otherwise, or whose cohort tells a
    patient's group otherwise now, gets those of today. ``run.json`` names them as ``carried``. Killed
    between the two files, the run counts as damaged and its next training predicts anew.

    Parameters
    ----------
    run_folder : path
        A finished run.
    cohort : pandas.DataFrame
        With ``image`` (each once) and the columns.
    columns : sequence of str
        Those that predictions have by themselves, such as ``site_role``, are left as they are.

    Raises
    ------
    KeyError
        The cohort lacks a column.
    """
    file, record = Path(run_folder) / PREDICTIONS, Path(run_folder) / RECORD
    facts, table = read_json(record), pd.read_parquet(file)
    before = facts.get("carried", [])
    own = table.drop(columns=before)
    carried = [name for name in dict.fromkeys(columns) if name not in own]
    of_image = cohort.set_index("image")[carried].astype("string").fillna("")
    texts = of_image.loc[own["image"]].astype(object).set_axis(own.index)
    if carried == before and (texts.to_numpy() == table[before].to_numpy(object)).all():
        return
    with replacing(file) as temporary:
        pd.concat([own, texts], axis=1).to_parquet(temporary, index=False)
    digests = {**facts["files"], PREDICTIONS: file_digest(file)}
    write_json(record, {**facts, "files": digests, "carried": carried})

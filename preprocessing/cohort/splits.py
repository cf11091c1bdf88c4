"""Splits that a patient never straddles and that a held-out site never enters."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from pydantic import Field, model_validator

from offsite.errors import InputError
from offsite.preprocessing.cohort.table import Cohort
from offsite.settings import Settings
from offsite.tables.words import SPLITS

_SPLITS = tuple(SPLITS)


class SplitSettings(Settings):
    """How the patients of the training sites are divided."""

    held_out_sites: tuple[str, ...] = Field(
        (), description="Sites that take no part in training or selection: test throughout."
    )
    val: float = Field(
        0.15, gt=0, lt=1, description="Share of training-site patients for selection."
    )
    test: float = Field(0.25, ge=0, lt=1, description="Share kept for the in-distribution test.")
    seed: int = Field(0, ge=0, description="Seed of the division.")

    @model_validator(mode="after")
    def _leaves_training(self) -> "SplitSettings":
        if self.val + self.test > 0.9:
            raise ValueError("val and test together leave less than a tenth for training")
        return self


def split_cohort(cohort: Cohort, settings: SplitSettings) -> Cohort:
    """Add ``split`` (train, val, test) and ``site_role`` (training, held_out) to a cohort.

    Patients of a training site are divided within the strata site x class (a patient's class is
    the most severe of its images), so that rare classes reach every split where there are enough
    patients. A patient with a ``split`` in the table keeps it. Held-out sites are ``test``.

    Raises
    ------
    InputError
        A held-out site is not in the cohort, no training site is left, a class has no training
        patient, or the table puts an image of a held-out site into train or val.
    """
    table = cohort.table.copy()
    _check_sites(cohort, settings.held_out_sites)
    held_out = table["site"].isin(settings.held_out_sites)
    table["site_role"] = np.where(held_out, "held_out", "training")
    given = table["split"] if "split" in table.columns else pd.Series("", index=table.index)
    _check_given(cohort, given, held_out)
    patients = by_patient(table.assign(label_index=cohort.label_indices, given=given)[~held_out])
    assigned = _assign(patients, settings)
    table["split"] = np.where(held_out, "test", table["patient"].map(assigned))
    _check_classes(cohort, table)
    return cohort.with_table(table)


def _check_sites(cohort: Cohort, held_out: Sequence[str]) -> None:
    unknown = sorted(set(held_out) - set(cohort.sites))
    if unknown:
        raise InputError(
            f"held-out site {', '.join(unknown)} is not in the cohort",
            file=cohort.path,
            column="site",
            remedy=f"The sites are {', '.join(cohort.sites)}",
        )
    if set(held_out) == set(cohort.sites):
        raise InputError(
            "every site is held out",
            file=cohort.path,
            column="site",
            remedy="Leave at least one site for training",
        )


def _check_given(cohort: Cohort, given: pd.Series, held_out: pd.Series) -> None:
    leaking = np.flatnonzero((held_out & given.isin(["train", "val"])).to_numpy())
    if len(leaking):
        row = int(leaking[0])
        raise InputError(
            f"split '{given.iloc[row]}' at held-out site '{cohort.table['site'].iloc[row]}'",
            file=cohort.path,
            row=row + 2,
            column="split",
            remedy="A held-out site is test throughout: blank the cell, or train on the site",
        )


def by_patient(table: pd.DataFrame) -> pd.DataFrame:
    """One row per patient, in order of name: site, most severe class, split where ``given``.

    Parameters
    ----------
    table : pandas.DataFrame
        ``patient, site, label_index`` and, where splits were given, ``given`` ("" where not).
    """
    names, first, codes = np.unique(
        table["patient"].to_numpy(dtype=str), return_index=True, return_inverse=True
    )
    label = np.full(len(names), -1)
    np.maximum.at(label, codes, table["label_index"].to_numpy())
    given = np.full(len(names), "", dtype=object)
    marks = table["given"].to_numpy() if "given" in table else np.full(len(table), "")
    for row in np.flatnonzero(marks != ""):
        given[codes[row]] = max(given[codes[row]], marks[row])
    site = table["site"].to_numpy()[first]
    return pd.DataFrame({"site": site, "label": label, "given": given}, index=names)


def _assign(patients: pd.DataFrame, settings: SplitSettings) -> dict[str, str]:
    """Divide each stratum by quota; the rounding remainder is carried on to the next stratum.

    Carrying it keeps the overall shares right where strata hold one or two patients each, which
    rounding each on its own would not.
    """
    shares = (1 - settings.val - settings.test, settings.val, settings.test)
    generator = np.random.default_rng(np.random.SeedSequence([settings.seed, 0x5B117]))
    fixed = patients.loc[patients["given"] != "", "given"]
    assigned = {str(name): str(split) for name, split in fixed.items()}
    free = patients[patients["given"] == ""]
    names = free.index.to_numpy(dtype=str)
    _, site = np.unique(free["site"].to_numpy(dtype=str), return_inverse=True)
    label = free["label"].to_numpy()
    for index in np.unique(label):
        quota = [0.0, 0.0, 0.0]
        members = np.flatnonzero(label == index)
        for number in np.unique(site[members]):
            stratum = names[members[site[members] == number]]
            quota = [left + share * len(stratum) for left, share in zip(quota, shares, strict=True)]
            for name in generator.permutation(stratum).tolist():
                choice = quota.index(max(quota))
                quota[choice] -= 1
                assigned[name] = _SPLITS[choice]
    return assigned


def _check_classes(cohort: Cohort, table: pd.DataFrame) -> None:
    train = table[table["split"] == "train"]
    missing = [name for name in cohort.classes if not (train["label"] == name).any()]
    if missing:
        raise InputError(
            f"no training image of class {', '.join(missing)}",
            file=cohort.path,
            column="label",
            remedy="Train on a site that has the class, or name fewer classes in the settings",
        )

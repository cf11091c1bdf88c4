"""What is wrong with a cohort before anything is trained on it."""

import os
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from offsite.children.budget import room_for
from offsite.children.ended import ChildEnded
from offsite.children.pool import HERE, Place, threads_at
from offsite.errors import fault_of_system
from offsite.files import check_plain, file_digest, is_file
from offsite.preprocessing.cohort.acquisition import FileFacts, file_facts, giveaways
from offsite.preprocessing.cohort.audit_names import AuditFinding, alike, shared_names, straddling
from offsite.preprocessing.cohort.near_duplicates import (
    Signature,
    joined_groups,
    near_pairs,
    signature,
)
from offsite.preprocessing.cohort.table import Cohort

Decode = Callable[[Path], np.ndarray | None]
Opened = Callable[[Path, float | None], str]
_NOTABLE_SHIFT = 0.2  # total variation between the labels of two sites
_MAX_PX = 100_000_000
_MAX_BYTES = 512 << 20


@dataclass(frozen=True)
class Audit:
    """All findings, and the tables behind them.

    Attributes
    ----------
    findings : tuple of AuditFinding
        Errors first.
    identical, near : list of list of int
        Groups of rows with the same bytes, or the same picture otherwise stored.
    label_shift : pandas.DataFrame
        ``site, other, total_variation`` for each pair of sites.
    giveaways : pandas.DataFrame
        See `offsite.preprocessing.cohort.acquisition.giveaways`.
    """

    findings: tuple[AuditFinding, ...]
    identical: list[list[int]]
    near: list[list[int]]
    label_shift: pd.DataFrame
    giveaways: pd.DataFrame = field(default_factory=pd.DataFrame)

    def count(self, kind: str) -> int:
        """Return the number of findings of a kind."""
        return sum(finding.kind == kind for finding in self.findings)

    def table(self, cohort: Cohort) -> pd.DataFrame:
        """Return the findings as a table: kind, severity, detail, images."""
        images = cohort.table["image"]
        return pd.DataFrame(
            {
                "kind": [f.kind for f in self.findings],
                "severity": [f.severity for f in self.findings],
                "detail": [f.detail for f in self.findings],
                "images": [" ".join(images.iloc[list(f.rows)]) for f in self.findings],
            }
        )


@dataclass(frozen=True)
class _Looked:
    digest: str = ""
    facts: FileFacts | None = None
    signature: Signature | None = None
    fault: str = ""


def audit_cohort(
    cohort: Cohort,
    *,
    pictures: bool = True,
    near: bool = True,
    slides: bool = False,
    decode: Decode | None = None,
    opened: Opened | None = None,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    place: Place = HERE,
) -> Audit:
    """Audit a cohort.

    Parameters
    ----------
    cohort : Cohort
        Need not be valid in every respect: a patient in two splits is then a finding.
    pictures : bool
        Look at the files; without, at the table alone (split lists whose images are elsewhere).
    near : bool
        Compare pictures too, beside bytes.
    slides : bool
        The images are slides: they are compared by bytes and not decoded; of what gives a site
        away, only what a tile shows is named.
    decode : callable, optional
        Gives the pixels of a picture file as `decoded` does, where it is to read more formats.
    opened : callable, optional
        Opens a slide with the um per px that the table gives, and says why it cannot be read, or
        "". Asked with ``near`` alone.
    place : Place
        Where files are opened: children end with one that crashes or never ends.
    """
    table = cohort.table
    groups: list[list[int]] = []
    similar: list[list[int]] = []
    findings: list[AuditFinding] = []
    given = pd.DataFrame()
    asked = opened if slides and near else None
    near = near and not slides
    if pictures:
        scales = [None if np.isnan(mpp) else float(mpp) for mpp in table["mpp"].to_numpy(float)]
        images = list(zip(cohort.image_paths(), scales, strict=True))
        looked = _look(images, near, decode or decoded, asked, workers, progress, place)
        groups = _same([look.digest for look in looked])
        if near:
            pairs = near_pairs([look.signature for look in looked])
            other_bytes = [p for p in pairs if looked[p[0]].digest != looked[p[1]].digest]
            similar = joined_groups(other_bytes)
        given = giveaways([look.facts for look in looked], table["site"])
        findings += _unreadable(looked, near, slides)
    shift = label_shift(table, cohort.classes)
    findings += _of_groups(table, groups, "identical", "byte for byte")
    findings += _of_groups(table, similar, "near_identical", "in all that is seen")
    findings += straddling(table) + alike(table) + shared_names(table) + _shifted(shift)
    findings += _given_away(given, slides)
    order = {"error": 0, "warning": 1, "note": 2}
    findings.sort(key=lambda finding: order[finding.severity])
    return Audit(tuple(findings), groups, similar, shift, given)


def _look(
    images: list[tuple[Path, float | None]],
    near: bool,
    decode: Decode,
    opened: Opened | None,
    workers: int | None,
    progress: Callable[[int, int], None] | None,
    place: Place,
) -> list[_Looked]:
    def one(image: tuple[Path, float | None]) -> _Looked:
        try:
            return place.call(_look_at, *image, near, decode, opened)
        except ChildEnded as error:
            return _Looked(fault=error.message)
        except OSError as error:
            known = fault_of_system(error)
            return _Looked(fault=known.problem if known else "")

    looked = []
    with threads_at(place, workers or os.cpu_count() or 1) as pool:
        for done, look in enumerate(pool.map(one, images), start=1):
            looked.append(look)
            if progress is not None:
                progress(done, len(images))
    return looked


def _look_at(
    path: Path, mpp: float | None, near: bool, decode: Decode, opened: Opened | None
) -> _Looked:
    fault = opened(path, mpp) if opened is not None else ""
    if not is_file(path):
        return _Looked(fault=fault)
    check_plain(path)
    if near and path.stat().st_size > _MAX_BYTES:  # no photograph: not worth reading to its end
        return _Looked()
    facts, digest, seen = file_facts(path), file_digest(path), None
    if near and facts is not None and facts.width * facts.height <= _MAX_PX:
        with room_for(facts.width * facts.height):
            pixels = decode(path)
            seen = None if pixels is None else signature(pixels)
    return _Looked(digest, facts, seen, fault)


def decoded(path: Path) -> np.ndarray | None:
    """Return the pixels (uint8, H x W x 3, RGB) of a picture, or None where it cannot be read."""
    import cv2

    try:
        decoded = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        return None
    return None if decoded is None else cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB)


def _same(digests: list[str]) -> list[list[int]]:
    rows: dict[str, list[int]] = defaultdict(list)
    for row, digest in enumerate(digests):
        if digest:
            rows[digest].append(row)
    return [group for group in rows.values() if len(group) > 1]


def _unreadable(looked: list[_Looked], near: bool, slides: bool) -> list[AuditFinding]:
    if slides:
        bad = {row: look.fault for row, look in enumerate(looked) if look.fault}
    else:
        bad = {
            row: look.fault or "the picture cannot be read"
            for row, look in enumerate(looked)
            if look.facts is None or (near and look.signature is None)
        }
    return [AuditFinding("unreadable", "error", why, (row,)) for row, why in bad.items()]


def _of_groups(
    table: pd.DataFrame, groups: list[list[int]], kind: str, how: str
) -> list[AuditFinding]:
    """The group itself, and what makes it worse: conflicting labels, a leak."""
    findings = []
    splits = table["split"] if "split" in table.columns else pd.Series("", index=table.index)
    for group in groups:
        rows = tuple(group)
        findings.append(
            AuditFinding(kind, "warning", f"{len(rows)} images are identical {how}", rows)
        )
        labels = sorted(set(table["label"].iloc[group]) - {""})
        if len(labels) > 1:
            detail = f"identical images are labelled {' and '.join(labels)}"
            findings.append(AuditFinding("conflicting_labels", "error", detail, rows))
        for column, values in (("split", splits), ("site", table["site"])):
            places = sorted(set(values.iloc[group]) - {""})
            if len(places) > 1:
                detail = f"identical images in {column}s {' and '.join(places)}"
                findings.append(AuditFinding("leak", "error", detail, rows))
        patients = table["patient"].iloc[group].unique()
        # Where neither has another image, nothing of the person is left to be parted.
        if len(patients) > 1 and table["patient"].isin(patients).sum() > len(group):
            names = " and ".join(f"'{name}'" for name in patients)
            findings.append(
                AuditFinding("two_names", "error", f"patients {names} are one person", rows)
            )
    return findings


def label_shift(table: pd.DataFrame, classes: tuple[str, ...]) -> pd.DataFrame:
    """Return the total variation between the label shares of each pair of sites, largest first."""
    labelled = table[table["label"] != ""]
    counts = pd.crosstab(labelled["site"], labelled["label"]).reindex(
        columns=list(classes), fill_value=0
    )
    shares = counts.div(counts.sum(axis=1), axis=0)
    sites = list(shares.index)
    rows = [
        (one, other, float(np.abs(shares.loc[one] - shares.loc[other]).sum() / 2))
        for number, one in enumerate(sites)
        for other in sites[number + 1 :]
    ]
    pairs = pd.DataFrame(rows, columns=["site", "other", "total_variation"])
    return pairs.sort_values("total_variation", ascending=False, ignore_index=True)


def _shifted(shift: pd.DataFrame) -> list[AuditFinding]:
    return [
        AuditFinding(
            "label_shift",
            "note",
            f"the label shares of {row['site']} and {row['other']} differ by"
            f" {row['total_variation']:.2f} (total variation)",
        )
        for row in shift.to_dict("records")
        if row["total_variation"] >= _NOTABLE_SHIFT
    ]


def _given_away(given: pd.DataFrame, slides: bool) -> list[AuditFinding]:
    remedy = (
        "a model may learn the scanner; the report's acquisition table shows it by site"
        if slides
        else "bring all sites to one size and format"
    )
    return [
        AuditFinding(
            "giveaway",
            "warning",
            f"the files' {row['feature']} alone names the site in {row['balanced_accuracy']:.0%} of"
            f" cases (chance {row['chance']:.0%}): {remedy}",
        )
        for row in given.to_dict("records")
        if (not slides or row["feature"] == "compression")
        and row["balanced_accuracy"] >= row["chance"] + 0.5 * (1 - row["chance"])
    ]

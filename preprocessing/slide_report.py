"""What differs between sites before any model sees a tile: acquisition, quality, stain, labels.

Pure functions from tables to tables. ``slides`` is the frame that ``tile_cohort`` returns (or
``tiles.csv``), a row per slide with its ``site``; figures that are not known are None.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.stats import chi2_contingency

from offsite.preprocessing.stain import MacenkoFit
from offsite.preprocessing.tiles.table import STATUSES, SlideRecord

STRONG_ASSOCIATION = 0.3
_READABLE = ("done", "no_tissue")


def acquisition_table(slides: pd.DataFrame) -> pd.DataFrame:
    """How each site scans: a row per site.

    Scales are um per px; several values of a text column are joined by " | ". ``tile_um`` is the
    physical side of the tiles, which should be the same everywhere.
    """
    rows = []
    for site, group in slides.groupby("site", sort=True):
        read = group[group["status"].isin(_READABLE)]
        row: dict[str, object] = {"site": site, "slides": len(group)}
        for name in (
            "vendor",
            "scanner",
            "magnification",
            "mpp_source",
            "reader",
            "compression",
            "subsampling",
        ):
            row[name] = _joined(read[name]) if name in read else ""
        for name in ("mpp", "actual_mpp", "jpeg_quality", "levels"):
            row |= _range(read, name)
        um = read["size"] * read["mpp"]
        row["tile_um_min"], row["tile_um_max"] = _least_most(um)
        row["icc_share"] = _mean(read["icc_profile"].astype(float)) if len(read) else None
        rows.append(row)
    return pd.DataFrame(rows)


def exclusion_table(slides: pd.DataFrame) -> pd.DataFrame:
    """What was left out at each site: slides by status, tiles by status, tissue, and what is lost.

    ``rate_<status>`` is the share of the site's tiles with tissue; None where there are none.
    """
    rows = []
    for site, group in slides.groupby("site", sort=True):
        row: dict[str, object] = {"site": site, "slides": len(group)}
        for status in ("done", "no_tissue", "failed"):
            row[f"slides_{status}"] = int((group["status"] == status).sum())
        row["reasons"] = _joined(group["code"])
        counts = {name: _total(group, f"tiles_{name}") for name in STATUSES}
        with_tissue = sum(counts.values())
        row["tiles_with_tissue"] = with_tissue
        row["tiles_background"] = _total(group, "tiles_background")
        row["tissue_mm2"] = float(group["tissue_mm2"].fillna(0).sum())
        row["lost_mm2"] = float(group["lost_mm2"].fillna(0).sum()) if "lost_mm2" in group else 0.0
        for name, count in counts.items():
            row[f"tiles_{name}"] = count
            row[f"rate_{name}"] = count / with_tissue if with_tissue else None
        rows.append(row)
    return pd.DataFrame(rows)


def stain_table(sites: Mapping[str, str], records: Sequence[SlideRecord]) -> pd.DataFrame:
    """How each site stains: a row per site, against the mean over all slides.

    Parameters
    ----------
    sites : mapping of str to str
        Site of each slide.
    records : sequence of SlideRecord
        From ``offsite.preprocessing.tiles.table.load_record``.

    Returns
    -------
    pandas.DataFrame
        ``haematoxylin_<r|g|b>``, ``eosin_...`` (mean unit vectors), ``..._degrees`` (angle to the
        pooled vector), strengths, white point, mean and deviation of tissue in Lab, and how many
        slides had no usable fit.
    """
    by_site: dict[str, list[SlideRecord]] = {}
    for record in records:
        if record.macenko is not None:
            by_site.setdefault(sites[record.slide], []).append(record)
    usable = [
        r.macenko for rs in by_site.values() for r in rs if r.macenko and not r.macenko.identity
    ]
    pooled = {name: _mean_vector(usable, name) for name in ("haematoxylin", "eosin")}
    rows = []
    for site in sorted(by_site):
        group = by_site[site]
        fits = [r.macenko for r in group if r.macenko and not r.macenko.identity]
        row: dict[str, object] = {
            "site": site,
            "slides": len(group),
            "slides_without_fit": len(group) - len(fits),
        }
        for name in ("haematoxylin", "eosin"):
            vector = _mean_vector(fits, name)
            row |= _channels(name, vector)
            row[f"{name}_degrees"] = _angle(vector, pooled[name])
        strengths = np.array([fit.strength for fit in fits]) if fits else None
        row["strength_haematoxylin"] = None if strengths is None else float(strengths[:, 0].mean())
        row["strength_eosin"] = None if strengths is None else float(strengths[:, 1].mean())
        row |= _channels("white", np.mean([r.white for r in group if r.white], axis=0))
        rows.append(row | _lab(group))
    return pd.DataFrame(rows)


def confounding_table(
    cohort: pd.DataFrame, *, target: str = "label", factors: Sequence[str] = ("site", "scanner")
) -> pd.DataFrame:
    """How far each factor alone tells the label, over patients.

    Returns
    -------
    pandas.DataFrame
        A row per factor: ``cramers_v`` (bias-corrected), ``p`` (chi-squared), ``patients``,
        ``warning`` above ``STRONG_ASSOCIATION``, ``reason`` where it is undefined.
    """
    known = cohort[cohort[target] != ""]
    rows = []
    for factor in factors:
        if factor not in known.columns:
            continue
        patients = known.drop_duplicates(["patient", target, factor])
        value, p, reason = cramers_v(patients[factor], patients[target])
        strong = value is not None and value > STRONG_ASSOCIATION
        warning = (
            f"the {factor} alone tells much of the {target}: a model can score well by"
            f" recognising the {factor}"
            if strong
            else ""
        )
        rows.append(
            {
                "factor": factor,
                "target": target,
                "cramers_v": value,
                "p": p,
                "patients": int(patients["patient"].nunique()),
                "warning": warning,
                "reason": reason,
            }
        )
    return pd.DataFrame(rows)


def cramers_v(first: pd.Series, second: pd.Series) -> tuple[float | None, float | None, str]:
    """Bias-corrected Cramér's V (Bergsma 2013), its chi-squared p, and why it is undefined.

    0 means no association, 1 that one tells the other.
    """
    table = pd.crosstab(first, second).to_numpy()
    if min(table.shape) < 2:
        return None, None, "one of the two has a single value"
    n = table.sum()
    statistic, p = chi2_contingency(table, correction=False)[:2]
    rows, columns = table.shape
    phi2 = max(statistic / n - (rows - 1) * (columns - 1) / (n - 1), 0.0)
    corrected = min(rows - (rows - 1) ** 2 / (n - 1), columns - (columns - 1) ** 2 / (n - 1)) - 1
    if corrected <= 0:
        return None, float(p), f"{n} patients are too few for {rows} x {columns} groups"
    return float(min((phi2 / corrected) ** 0.5, 1.0)), float(p), ""


def _joined(values: pd.Series) -> str:
    text = values.dropna().astype(str)
    return " | ".join(sorted(set(text) - {"", "nan"}))


def _least_most(values: pd.Series) -> tuple[float | None, float | None]:
    known = values.dropna()
    return (float(known.min()), float(known.max())) if len(known) else (None, None)


def _range(group: pd.DataFrame, name: str) -> dict[str, float | None]:
    values = group[name] if name in group else pd.Series(dtype=float)
    least, most = _least_most(values.astype(float))
    return {f"{name}_min": least, f"{name}_max": most}


def _mean(values: pd.Series) -> float | None:
    known = values.dropna()
    return float(known.mean()) if len(known) else None


def _total(group: pd.DataFrame, name: str) -> int:
    return int(group[name].fillna(0).sum()) if name in group else 0


def _mean_vector(fits: Sequence[MacenkoFit], name: str) -> np.ndarray | None:
    if not fits:
        return None
    mean = np.mean([getattr(fit, name) for fit in fits], axis=0)
    return mean / np.linalg.norm(mean)


def _channels(name: str, vector: np.ndarray | None) -> dict[str, float | None]:
    values = [None] * 3 if vector is None else [float(value) for value in vector]
    return {f"{name}_{channel}": value for channel, value in zip("rgb", values, strict=True)}


def _angle(first: np.ndarray | None, second: np.ndarray | None) -> float | None:
    if first is None or second is None:
        return None
    return float(np.degrees(np.arccos(np.clip(first @ second, -1, 1))))


def _lab(group: Sequence[SlideRecord]) -> dict[str, float | None]:
    fits = [record.reinhard for record in group if record.reinhard and not record.reinhard.identity]
    row: dict[str, float | None] = {}
    for position, channel in enumerate(("lightness", "a", "b")):
        row[f"{channel}_mean"] = (
            float(np.mean([fit.mean[position] for fit in fits])) if fits else None
        )
        row[f"{channel}_deviation"] = (
            float(np.mean([fit.deviation[position] for fit in fits])) if fits else None
        )
    return row

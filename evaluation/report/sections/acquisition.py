"""How the sites make their images, and whether the site alone gives the label away."""

import pandas as pd

from offsite.evaluation.report.content import Cell, Column, Section, Table, listing
from offsite.evaluation.report.findings import Findings
from offsite.evaluation.tables.reading import Record, records

_STAINS = ("Haematoxylin", "Eosin")


def section(findings: Findings) -> Section | None:
    """Acquisition by site and confounding, as far as those who made the images handed them over."""
    acquisition, confounding = map(findings.evaluated.table, ("acquisition", "confounding"))
    tables, notes = [], []
    if acquisition is not None:
        tables.append(_acquisition(acquisition, findings.evaluated.table("stain")))
        notes.append(
            "Tiles of another physical size, another stain or another compression are what a "
            "model can mistake for disease: they should not differ with the label."
        )
    if confounding is not None:
        tables.append(_confounding(confounding))
    if not tables:
        return None
    return Section(
        anchor="acquisition",
        title="How the images were made",
        tables=tuple(tables),
        notes=tuple(notes),
    )


def _acquisition(acquisition: pd.DataFrame, stain: pd.DataFrame | None) -> Table:
    angles = {} if stain is None else {row["site"]: row for row in records(stain)}
    angle = "angle to all"
    return listing(
        "Acquisition by site",
        ("Site", "Scanner"),
        (
            "um per px",
            "Tile, um",
            "JPEG quality",
            *(Column(of, note=angle) for of in _STAINS),
        ),
        (
            (
                Cell(row["site"], note=f"{int(row['slides'])} slides"),
                row["scanner"] or "not named",
                _range(row, "mpp", 3),
                _range(row, "tile_um", 0),
                _range(row, "jpeg_quality", 0),
                *(
                    _number(angles.get(row["site"], {}).get(f"{name.lower()}_degrees"), 0, "°")
                    for name in _STAINS
                ),
            )
            for row in records(acquisition)
        ),
    )


def _confounding(confounding: pd.DataFrame) -> Table:
    return listing(
        "How far each factor alone tells the label",
        ("Factor",),
        (Column("Cramér's V", note="0 none, 1 wholly"), "p", "Patients"),
        (
            (
                row["factor"],
                Cell(_number(row["cramers_v"], 2), note=row.get("reason") or ""),
                _number(row["p"], 3),
                f"{int(row['patients']):,}",
            )
            for row in records(confounding)
        ),
    )


def _range(row: Record, name: str, digits: int) -> str:
    low, high = (_number(row.get(f"{name}_{end}"), digits) for end in ("min", "max"))
    return low if low == high else f"{low}–{high}"


def _number(value: float | None, digits: int, unit: str = "") -> str:
    return "–" if value is None else f"{value:.{digits}f}{unit}"

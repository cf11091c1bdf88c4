"""Every table of one page: the same rows and patients, the same confidence, the same worst site."""

from collections.abc import Callable, Mapping
from functools import cache

import numpy as np
import pandas as pd
import pytest

from offsite.evaluation.alarms import alarm_table
from offsite.evaluation.calibration.table import calibration_tables
from offsite.evaluation.conformal.table import conformal_table
from offsite.evaluation.metrics.names import described
from offsite.evaluation.ood.settings import OodSettings
from offsite.evaluation.ood.table import ood_table
from offsite.evaluation.operating_points.net_benefit import net_benefit_table
from offsite.evaluation.operating_points.table import operating_point_table
from offsite.evaluation.predictions.table import Predictions
from offsite.evaluation.report.findings import Findings
from offsite.evaluation.settings import (
    ConformalSettings,
    EvaluationSettings,
    SelectiveSettings,
    ShiftSettings,
    TaskSettings,
)
from offsite.evaluation.shift.coupling import coupling_table
from offsite.evaluation.shift.table import shift_tables
from offsite.evaluation.statistics.sites import Sites
from offsite.evaluation.tables.cohort import cohort_table
from offsite.evaluation.tables.embeddings import embedding_tables
from offsite.evaluation.tables.meta_analysis import meta_table, shrunken_table
from offsite.evaluation.tables.per_site import confusion_table, per_site_table
from offsite.evaluation.tables.reading import Evaluated
from offsite.evaluation.tables.schemas import SCHEMAS
from offsite.evaluation.tables.selective import risk_coverage_table, selective_table

CLASSES = ("none", "mild", "severe")
TASKS = {"ill": TaskSettings(positive_classes=("severe",), reference_prevalence=0.3)}
SHIFT = ShiftSettings(permutations=39, resamples=100, null_splits=19, max_rows=60)
OOD = OodSettings(detectors=("msp", "knn"), resamples=100)

# Rows that speak of all labelled test images of a site: a table, and how they are told.
OF_LABELLED: Mapping[str, Mapping[str, object]] = {
    "per_site": {"metric": "accuracy"},
    "selective": {"metric": "accuracy"},
    "conformal": {"label": "_all", "level": 0.9, "weighted": False},
    "operating_points": {"metric": "flag_rate", "rule": "stated"},
    "net_benefit": {"threshold": 0.5},
    "calibration": {"metric": "brier", "task": "ill", "calibrator": "none"},
    "shift_details": {"statistic": "accuracy"},
    "ood": {"category": "error", "metric": "auroc", "detector": "msp"},
}
# Rows that speak of all test images, labelled or not.
OF_ALL: Mapping[str, Mapping[str, object]] = {
    "ood": {"metric": "flag_rate", "detector": "msp"},
    "shift_details": {"statistic": "label_shift_misfit"},
    "cohort": {"split": "test"},
}


def random_predictions(
    kind: str, numbers: Callable[[int, np.random.Generator], np.ndarray]
) -> Predictions:
    """Hospitals that number their patients alike."""
    rng = np.random.default_rng([len(kind), *kind.encode()])
    names = {"few": ["a", "b"], "many": [f"s{i}" for i in range(8)]}.get(kind, ["a", "b", "c"])
    parts = []
    for index, site in enumerate(names):
        for split, size in (("train", 50), ("val", 50), ("test", 60 + 10 * index)):
            if index == len(names) - 1 and split != "test":
                continue  # held out
            labels = rng.integers(0, 2 if kind == "missing_class" and index == 1 else 3, size)
            labels[rng.random(size) < 0.1] = -1
            names_of = numbers(size, rng).astype(str)
            parts.append(
                pd.DataFrame(
                    {
                        "patient": np.char.add(f"{split}-", names_of),
                        "site": site,
                        "split": split,
                        "number": labels,
                    }
                )
            )
    table = pd.concat(parts, ignore_index=True)
    labels = table.pop("number").to_numpy()
    logits = rng.normal(size=(len(table), 3)) + 1.5 * np.eye(3)[np.maximum(labels, 0)]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    table["image"] = [f"{row}.png" for row in range(len(table))]
    table["label"] = [CLASSES[label] if label >= 0 else "" for label in labels]
    return Predictions(
        table=table,
        classes=CLASSES,
        probabilities=probabilities,
        labels=labels,
        embeddings=np.hstack([logits, rng.normal(size=(len(table), 5))]).astype(np.float32),
        logits=logits.astype(np.float32),
    )


def numbered(size: int, rng: np.random.Generator) -> np.ndarray:
    return np.arange(size) % 40


def crowded(size: int, rng: np.random.Generator) -> np.ndarray:
    """One patient has half of the rows."""
    return np.where(np.arange(size) < size // 2, 0, np.arange(size))


KINDS = {"few": numbered, "many": numbered, "crowded": crowded, "missing_class": numbered}


@cache
def tables(kind: str, confidence: float, unit: str) -> dict[str, pd.DataFrame]:
    settings = EvaluationSettings.model_validate(
        {"tasks": TASKS, "resamples": 200, "confidence": confidence, "unit": unit}
        | {"calibration_simulations": 50}
    )
    sites = Sites.of(random_predictions(kind, KINDS[kind]), settings)
    per_site = per_site_table(sites)
    found = {
        "cohort": cohort_table(sites),
        "per_site": per_site,
        "confusion": confusion_table(sites),
        "meta": meta_table(per_site, settings),
        "shrunken": shrunken_table(per_site, settings),
        "selective": selective_table(sites, SelectiveSettings(resamples=200)),
        "risk_coverage": risk_coverage_table(sites, SelectiveSettings()),
        "conformal": conformal_table(sites, ConformalSettings()),
        "operating_points": operating_point_table(sites),
        "net_benefit": net_benefit_table(sites),
        **calibration_tables(sites),
        **embedding_tables(sites),
        "site_coupling": coupling_table(sites),
        "ood": ood_table(sites, OOD),
        **shift_tables(sites, SHIFT),
    }
    return found | {"alarms": alarm_table(found, settings.alarm_level)}


def measured_rows(kind: str) -> pd.DataFrame:
    table = random_predictions(kind, KINDS[kind]).table
    return table[table["split"] == "test"]


def counted(rows: pd.DataFrame) -> dict[str, tuple[int, int]]:
    return {
        str(site): (len(part), part["patient"].nunique()) for site, part in rows.groupby("site")
    }


def told(table: pd.DataFrame, wanted: Mapping[str, object]) -> dict[str, tuple[int, int]]:
    rows = table[~table["site"].str.startswith("_")]
    for column, value in wanted.items():
        rows = rows[rows[column] == value]
    pairs = zip(rows["site"], rows["n"], rows["n_patients"], strict=True)
    return {site: (int(n), int(patients)) for site, n, patients in pairs}


@pytest.mark.parametrize("unit", ["patient", "image"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_table_counts_the_same_images_and_patients(kind: str, unit: str) -> None:
    made, test = tables(kind, 0.95, unit), measured_rows(kind)
    for name, wanted in OF_LABELLED.items():
        assert told(made[name], wanted) == counted(test[test["label"] != ""]), name
    for name, wanted in OF_ALL.items():
        assert told(made[name], wanted) == counted(test), name


def test_no_table_of_the_page_is_left_out() -> None:
    # Those of several models, and of groups, are compared with their own plain forms elsewhere.
    elsewhere = {"differences", "methods", "complementary", "subgroups", "seed_agreement"}
    assert set(tables("few", 0.95, "patient")) == set(SCHEMAS) - elsewhere


@pytest.mark.parametrize("unit", ["patient", "image"])
@pytest.mark.parametrize("kind", KINDS)
def test_tables_without_a_row_for_all_images_sum_to_the_same(kind: str, unit: str) -> None:
    made, test = tables(kind, 0.95, unit), measured_rows(kind)
    labelled = counted(test[test["label"] != ""])
    images = {site: n for site, (n, _) in labelled.items()}

    def summed(name: str, column: str, **wanted: object) -> dict[str, int]:
        rows = made[name][~made[name]["site"].str.startswith("_")]
        for key, value in wanted.items():
            rows = rows[rows[key] == value]
        return {str(site): int(n) for site, n in rows.groupby("site")[column].sum().items()}

    assert summed("confusion", "count") == images
    nearer = made["embeddings"].query("metric == 'class_nearer'").groupby("site_role")["n"].sum()
    assert nearer.sum() == sum(images.values())
    assert summed("reliability", "n", task="ill", calibrator="none") == images
    curves = made["risk_coverage"]
    curves = curves[~curves["site"].str.startswith("_")]
    assert {str(site): set(rows["n"]) for site, rows in curves.groupby("site")} == {
        site: {n} for site, n in images.items()
    }
    assert told(made["shift"], {"kind": "performance"}) == labelled
    patients = {site: number for site, (_, number) in labelled.items()}
    everyone = {site: number for site, (_, number) in counted(test).items()}
    for row in made["alarms"].to_dict("records"):
        assert row["n_patients"] in (patients[row["site"]], everyone[row["site"]]), row
    usable = made["per_site"].query("site_role == 'held_out' and effect.notna()")
    usable = usable[~usable["site"].str.startswith("_")].groupby("metric").size()
    combined = made["meta"].query("site_role == 'held_out'").set_index("metric")["sites"]
    assert {name: int(n) for name, n in combined.items() if n} == usable.to_dict()


@pytest.mark.parametrize("kind", KINDS)
def test_the_worst_site_is_the_same_in_every_table(kind: str) -> None:
    made = tables(kind, 0.95, "patient")
    per_site, shrunken = made["per_site"], made["shrunken"]
    single = per_site[~per_site["site"].str.startswith("_") & per_site["value"].notna()]
    asked = 0
    for metric, rows in single.groupby("metric"):
        higher = described(str(metric)).higher
        named = per_site.query("site == '_worst' and site_role == 'all' and metric == @metric")
        if higher is None:
            assert named.empty
            continue
        worst = float(rows["value"].min() if higher else rows["value"].max())
        assert named["value"].tolist() == [worst]
        assert worst in rows.loc[rows["site"] == named["detail"].iloc[0], "value"].tolist()
        drawn = shrunken.query("site == '_worst' and site_role == 'all' and metric == @metric")
        used = shrunken.query("site_role == 'all' and metric == @metric and shrunken.notna()")
        used = used[~used["site"].str.startswith("_")]["shrunken"]
        if len(used):
            assert drawn["shrunken"].tolist() == [used.min() if higher else used.max()]
        findings = Findings(Evaluated(tables=made, facts={"primary_metric": metric}))
        values = [findings.at(site, str(metric))["value"] for site in findings.sites()]
        known = [value for value in values if value is not None]
        assert known == sorted(known, reverse=not higher)
        assert known[0] == worst
        asked += 1
    assert asked > 10


@pytest.mark.parametrize(
    "name", [*OF_LABELLED, "reliability", "meta", "shrunken", "alarms", "embeddings"]
)
def test_every_table_has_the_confidence_that_was_asked_for(name: str) -> None:
    keys = {
        "shift_details": ["site", "statistic"],
        "net_benefit": ["site", "site_role", "threshold"],
        "meta": ["metric", "site_role"],
        "shrunken": ["metric", "site_role", "site"],
        "alarms": ["alarm", "task", "site"],
        "embeddings": ["label", "site_role", "metric"],
    }
    columns = [
        column
        for column in (
            *("site", "site_role", "metric", "task", "rule", "calibrator", "bin"),
            *("detector", "category", "level", "label", "weighted"),
        )
        if column in tables("few", 0.95, "patient")[name]
    ]
    narrow, wide = (
        tables("few", confidence, "patient")[name].set_index(keys.get(name, columns))
        for confidence in (0.8, 0.95)
    )
    both = narrow["low"].notna() & wide["low"].notna()
    assert both.sum() >= 3
    spans = [(part["high"] - part["low"])[both].astype(float) for part in (narrow, wide)]
    assert (spans[0] <= spans[1] + 1e-9).all()
    # A few are bounded by 0 or 1 at either confidence; the others are plainly narrower.
    assert (spans[0] < 0.9 * spans[1]).mean() > 0.7


def test_people_of_two_hospitals_with_one_number_are_two() -> None:
    made = tables("few", 0.95, "patient")
    for name in ("per_site", "selective", "conformal"):
        rows = made[name]
        for column, value in OF_LABELLED[name].items():
            rows = rows[rows[column] == value]
        pooled = rows[rows["site"].eq("_pooled")].set_index("site_role")["n_patients"]
        single = rows[~rows["site"].str.startswith("_")].groupby("site_role")["n_patients"].sum()
        for role in ("training", "held_out"):
            assert pooled[role] == single[role], name


def test_one_number_has_one_interval_on_the_page() -> None:
    made = tables("many", 0.95, "patient")
    rows = [
        made[name][made[name]["metric"] == "accuracy"].set_index(["site", "site_role"])
        for name in ("per_site", "selective")
    ]
    shared = rows[1].index
    for column in ("value", "low", "high"):
        np.testing.assert_allclose(
            rows[0].loc[shared, column].astype(float), rows[1][column].astype(float), atol=1e-12
        )

"""What MLflow shows of a run: the keys that the documentation lists, the held-out sites first."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from offsite.evaluation.operating_points.choosing import PACKAGED
from offsite.evaluation.tracking.keys import KEY
from offsite.evaluation.tracking.logging import log_run
from offsite.evaluation.tracking.shown import KEYS, LIMIT, shown_metrics, shown_names, with_shipped
from offsite.evaluation.tracking.store import client_of
from offsite.evaluation.tracking.told import Told

PAGE = Path(__file__).parents[3] / "docs" / "tracking.md"
CURVES = [{"epoch": 0, "losses": {"loss": 1.0}, "scores": {"auroc": 0.5}}]
SITES = {"Aster": "training", "Birch": "training", "Cedar": "training", "Zelkova": "held_out"}
METRICS = (
    "auroc", "auroc/mild", "auprc", "accuracy", "balanced_accuracy", "macro_f1", "brier", "log_loss",
    "quadratic_weighted_kappa", "referable/prevalence", "referable/auroc", "referable/sensitivity",
    "referable/specificity", "urgent/prevalence", "urgent/sensitivity", "urgent/specificity",
    *(f"sensitivity/grade {grade}" for grade in range(40)),
)  # fmt: skip


def per_site(sites: dict[str, str] = SITES) -> pd.DataFrame:
    """Some 1,000 numbers, each of them another one."""
    places = list(sites.items())
    for role in ("training", "held_out", "all"):
        places += [(name, role) for name in ("_pooled", "_worst", "_gap")]
    rows = [
        {
            "split": "test",
            "site": site,
            "site_role": role,
            "metric": metric,
            "n": 100.0,
            "reason": "ok",
        }
        for site, role in places
        for metric in METRICS
    ]
    table = pd.DataFrame(rows)
    table["value"] = np.arange(len(table)) / 1e4
    return table.assign(low=table["value"] - 0.01, high=table["value"] + 0.01, n_positive=30.0)


def points() -> pd.DataFrame:
    rows = [
        {"site": site, "site_role": role, "task": task, "rule": rule, "metric": metric,
         "value": 0.9, "low": 0.8, "high": 0.95, "n": 100, "n_positive": 30, "reason": "ok"}
        for site, role in [*SITES.items(), ("_pooled", "held_out"), ("_chosen", "training")]
        for task in ("referable", "urgent")
        for rule in ("stated", PACKAGED)
        for metric in ("sensitivity", "specificity", "ppv")
    ]  # fmt: skip
    return pd.DataFrame(rows)


def as_expression(pattern: str) -> re.Pattern[str]:
    """A key of the list as what it stands for; an interval beside every metric."""
    parts = re.split(r"<(\w+)>", pattern)
    words = [
        re.escape(part) if index % 2 == 0 else r"[a-z0-9_]+" for index, part in enumerate(parts)
    ]
    bounds = r"(\.lo|\.hi)?" if pattern.endswith("<metric>") else ""
    return re.compile("".join(words) + bounds)


def documented() -> list[tuple[str, str]]:
    text = PAGE.read_text().split("## Keys")[1].split("\n## ")[0]
    return re.findall(r"^\| `([^`]+)` \| (.+?) \|$", text, flags=re.M)


def test_the_documentation_lists_every_key_and_every_listed_key_is_logged(store):
    assert documented() == list(KEYS)
    run = log_run(
        store, "demo", "one", job_key="k", curves=CURVES, per_site=per_site(),
        told=Told(points=points()),
    )  # fmt: skip
    logged = set(client_of(store).get_run(run).data.metrics)
    kinds = [as_expression(pattern) for pattern, _ in KEYS]
    for key in logged:
        assert KEY.fullmatch(key)
        assert any(kind.fullmatch(key) for kind in kinds), key
    for kind in kinds:
        assert any(kind.fullmatch(key) for key in logged), kind.pattern
    assert 100 < len(logged) <= LIMIT + 2


def test_the_held_out_site_is_there_with_its_interval_whatever_the_alphabet_says(store):
    table = with_shipped(per_site(), points())
    found, left_out = shown_metrics(table)
    assert left_out > 300
    assert len(found) == LIMIT
    order = list(found)
    assert order[:3] == [f"headline/held_out/auroc{end}" for end in ("", ".lo", ".hi")]
    for end in ("", ".lo", ".hi"):
        assert f"test/zelkova/auroc{end}" in found
        assert f"test/aster/auroc{end}" in found
        assert f"headline/held_out/referable_sensitivity_shipped{end}" in found
    held = table[(table["site"] == "_pooled") & (table["site_role"] == "held_out")]
    wanted = held[held["metric"] == "auroc"].iloc[0]
    assert found["headline/held_out/auroc"] == wanted["value"]
    assert found["headline/held_out/auroc.lo"] == wanted["low"]
    # The table on the page is sorted by name: the headline is its beginning.
    assert sorted([*found, "train/loss", "val/auroc"])[0].startswith("headline/held_out/")


@pytest.mark.parametrize("number", [1, 5, 60])
def test_however_many_sites_keys_are_bounded_and_held_out_sites_keep_their_interval(number):
    sites = {f"site {index:02d}": "training" for index in range(number)}
    sites |= {f"zone {index}": "held_out" for index in range(3)}
    found, _ = shown_metrics(per_site(sites))
    assert len(found) <= LIMIT
    for index in range(3):
        assert {f"test/zone_{index}/auroc{end}" for end in ("", ".lo", ".hi")} <= set(found)


def test_the_primary_metric_of_the_evaluation_comes_first():
    assert shown_names(METRICS, "brier")[0] == "brier"
    assert next(iter(shown_metrics(per_site(), "brier")[0])) == "headline/held_out/brier"
    assert shown_names([]) == []


def test_shipped_thresholds_stand_beside_the_stated_ones_under_another_name():
    table = with_shipped(per_site(), points())
    added = table[table["metric"].str.endswith("_shipped")]
    assert set(added["site"]) == {*SITES, "_pooled"}
    assert len(added) == 4 * 5
    assert with_shipped(per_site(), None).equals(per_site())

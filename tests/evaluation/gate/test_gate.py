import re

import numpy as np
import pandas as pd
import pytest

from offsite.errors import InputError
from offsite.evaluation.evaluating import evaluate
from offsite.evaluation.gate.judging import judge
from offsite.evaluation.gate.rules import GateSettings, load_rules
from offsite.evaluation.operating_points.choosing import PACKAGED
from offsite.evaluation.predictions.table import Predictions
from offsite.evaluation.report.settings import ReportSettings
from offsite.evaluation.settings import EvaluationSettings
from offsite.evaluation.statistics.sites import Sites
from offsite.evaluation.tables.comparison import paired_differences
from offsite.evaluation.tables.per_site import per_site_table

SETTINGS = EvaluationSettings(resamples=200)


def predictions(strength: dict[str, float]) -> Predictions:
    """Two classes at each site; ``strength`` is how far apart the model holds them there."""
    tables, probabilities = [], []
    for site, apart in strength.items():
        labels = np.tile([0, 1], 150)
        # One noise for every model at a site, so that models are compared on the same cases.
        noise = np.random.default_rng(len(site)).normal(size=300)
        scores = apart * (2 * labels - 1) + noise
        positive = 1 / (1 + np.exp(-scores))
        probabilities.append(np.stack([1 - positive, positive], axis=1))
        tables.append(
            pd.DataFrame(
                {
                    "image": [f"{site}-{i}.png" for i in range(300)],
                    "patient": [f"{site}-{i // 2}" for i in range(300)],
                    "site": site,
                    "site_role": "held_out" if site == "North" else "training",
                    "split": "test",
                    "label": np.where(labels, "disease", "healthy"),
                }
            )
        )
    table = pd.concat(tables, ignore_index=True)
    return Predictions(
        table=table,
        classes=("healthy", "disease"),
        probabilities=np.concatenate(probabilities),
        labels=(table["label"] == "disease").to_numpy(np.int64),
    )


def gate(*rules: dict, **more: object) -> GateSettings:
    return GateSettings.model_validate({"rules": list(rules), **more})


NOT_WORSE = {"rule": "non_inferiority", "metric": "auroc", "margin": 0.02}


def test_better_on_average_and_worse_at_one_site_is_refused_by_that_sites_name():
    champion = predictions({"East": 0.8, "West!": 0.8, "North": 0.8})
    candidate = predictions({"East": 1.6, "West!": 1.6, "North": 0.5})
    differences = paired_differences(champion, candidate, SETTINGS)
    pooled = differences[(differences["site"] == "_pooled") & (differences["metric"] == "auroc")]
    assert pooled["difference"].iloc[-1] > 0
    tables = {"per_site": per_site_table(Sites.of(candidate, SETTINGS))}
    verdict = judge(tables, gate(NOT_WORSE), champion="3", differences=differences)
    assert not verdict.passed
    assert verdict.rules[0].sites == ("North",)
    assert "North may lose more" in verdict.rules[0].sentence
    assert "version 3" in verdict.rules[0].sentence


def test_the_same_model_again_is_not_inferior_to_itself():
    model = predictions({"East": 1.0, "North": 1.0})
    tables = {"per_site": per_site_table(Sites.of(model, SETTINGS))}
    differences = paired_differences(model, model, SETTINGS)
    assert judge(tables, gate(NOT_WORSE), champion="1", differences=differences).passed


def test_less_is_better_turns_the_comparison_round():
    rule = {"rule": "non_inferiority", "metric": "brier", "margin": 0.02}
    worse = row("East", metric="brier", difference=0.05, low=0.03, high=0.07)
    better = row("East", metric="brier", difference=-0.05, low=-0.07, high=-0.03)
    tables = {"per_site": pd.DataFrame([row("East")])}
    for change, passes in ((worse, False), (better, True)):
        found = judge(tables, gate(rule), champion="1", differences=pd.DataFrame([change]))
        assert found.passed is passes


def test_a_champion_that_was_not_compared_with_is_a_refusal_and_no_champion_is_not():
    tables = {"per_site": pd.DataFrame([row("East")])}
    first = judge(tables, gate(NOT_WORSE), champion=None, differences=None)
    assert first.passed
    assert "no champion yet" in first.rules[0].sentence
    later = judge(tables, gate(NOT_WORSE), champion="1", differences=None)
    assert not later.passed
    assert "register its run again" in later.rules[0].sentence


def test_the_champion_judged_again_is_not_said_to_be_the_first():
    tables = {"per_site": pd.DataFrame([row("East")])}
    found = judge(tables, gate(NOT_WORSE), champion="2", version="2", differences=None)
    assert found.passed
    assert "version 2 is the champion itself" in found.rules[0].sentence


def row(site: str, **changed: object) -> dict:
    base = {
        "split": "test", "site": site, "site_role": "training", "metric": "auroc",
        "value": 0.9, "low": 0.85, "high": 0.95, "n": 200, "n_patients": 100, "reason": "ok",
    }  # fmt: skip
    return base | changed


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({}, None),
        ({"low": 0.79}, r"East has 0.90 \(0.79–0.95\)"),
        ({"low": None, "high": None, "reason": "interval_unstable"}, "East has no interval"),
        ({"value": None, "low": None, "reason": "single_class"}, r"no value \(one class only\)"),
    ],
)
def test_the_worst_site_is_judged_by_the_lower_bound(changed, said):
    rule = {"rule": "worst_site", "metric": "auroc", "at_least": 0.8}
    tables = {"per_site": pd.DataFrame([row("East", **changed), row("West"), row("_worst")])}
    verdict = judge(tables, gate(rule), champion=None, differences=None)
    assert verdict.passed is (said is None)
    if said:
        assert verdict.rules[0].sites == ("East",)
        with pytest.raises(AssertionError, match=said):
            raise AssertionError(verdict.rules[0].sentence)


def test_a_site_that_was_not_measured_does_not_pass():
    rule = {"rule": "worst_site", "metric": "referable/auroc", "at_least": 0.8}
    area = row("East", metric="referable/auroc")
    tables = {"per_site": pd.DataFrame([row("East"), row("West"), area])}
    verdict = judge(tables, gate(rule), champion=None, differences=None)
    assert verdict.rules[0].sites == ("West",)
    assert "West was not measured" in verdict.rules[0].sentence


def test_sensitivity_is_judged_at_the_threshold_that_is_shipped():
    rule = {"rule": "worst_site", "metric": "referable/sensitivity", "at_least": 0.8}
    stated = row("East", metric="referable/sensitivity", low=0.95)
    tables = {"per_site": pd.DataFrame([row("East"), stated])}
    verdict = judge(tables, gate(rule), champion=None, differences=None)
    assert "no such table" in verdict.rules[0].sentence
    for low, passed in ((0.79, False), (0.81, True)):
        carried = [
            row("East", metric="sensitivity", task="referable", rule=which, low=bound)
            for which, bound in (("stated", 0.95), (PACKAGED, low), ("confident", 0.95))
        ]
        points = tables | {"operating_points": pd.DataFrame(carried)}
        verdict = judge(points, gate(rule), champion=None, differences=None)
        assert verdict.passed is passed
        assert "at the chosen threshold" in verdict.rules[0].sentence


def test_roles_choose_sites_and_no_site_left_is_a_refusal():
    rule = {"rule": "worst_site", "metric": "auroc", "at_least": 0.8, "sites": "held_out"}
    weak = row("Far", site_role="held_out", low=0.5)
    verdict = judge(
        {"per_site": pd.DataFrame([row("East", low=0.5), weak])},
        gate(rule), champion=None, differences=None,
    )  # fmt: skip
    assert verdict.rules[0].sites == ("Far",)
    empty = judge(
        {"per_site": pd.DataFrame([row("East")])}, gate(rule), champion=None, differences=None
    )
    assert not empty.passed


def test_intervals_over_images_are_not_judged(tmp_path):
    rules = gate({"rule": "minimum_n", "patients": 150})
    for unit, drawn in (("patient", "over patients"), ("image", "over single images")):
        settings = ReportSettings(parts=(), metrics=EvaluationSettings(resamples=100, unit=unit))
        made = evaluate(predictions({"North": 1.0}), tmp_path / unit, settings)
        assert f"It is drawn {drawn}" in made.report.read_text()
        assert made.per_site["n_patients"].max() == 150
    assert judge(tmp_path / "patient", rules, champion=None, differences=None).passed
    with pytest.raises(InputError, match="over images"):
        judge(tmp_path / "image", rules, champion=None, differences=None)


def test_intervals_of_less_confidence_are_called_so_and_not_judged(tmp_path):
    for confidence, said in ((0.975, "97.5\u202f%"), (0.9, "90\u202f%")):
        metrics = EvaluationSettings(resamples=100, confidence=confidence)
        settings = ReportSettings(parts=("next_hospital",), metrics=metrics)
        rows = predictions({"North": 1.0, "East": 1.0, "South": 0.5})
        made = evaluate(rows, tmp_path / f"{confidence}", settings)
        page = made.report.read_text()
        assert {f"{said} interval", f"{said} prediction"} <= set(
            re.findall(r"[\d.]+\u202f% (?:interval|prediction)", page)
        )
        assert "95\u202f% interval" not in page
    rules = gate({"rule": "minimum_n", "patients": 150})
    assert judge(tmp_path / "0.975", rules, champion=None, differences=None).passed
    with pytest.raises(InputError, match="too narrow"):
        judge(tmp_path / "0.9", rules, champion=None, differences=None)


def test_sites_are_left_out_by_name_and_reason_only():
    rule = {"rule": "minimum_n", "patients": 30}
    tables = {"per_site": pd.DataFrame([row("East"), row("Small", n_patients=12)])}
    refused = judge(tables, gate(rule), champion=None, differences=None)
    assert "12 labelled patients at Small" in refused.rules[0].sentence
    why = {"Small": "twelve patients, agreed to wait for more"}
    passed = judge(tables, gate(rule, left_out=why), champion=None, differences=None)
    assert passed.passed
    assert "Small: twelve patients, agreed to wait for more" in passed.tags().values()
    with pytest.raises(ValueError, match="say why"):
        gate(rule, left_out={"Small": "no"})
    with pytest.raises(InputError, match="not a site of this evaluation"):
        judge(tables, gate(rule, left_out={"Elsewhere": "it is somewhere else"}), champion=None,
              differences=None)  # fmt: skip


def test_calibration_is_judged_beyond_noise_and_by_slope():
    rule = {"rule": "calibration", "task": "disease", "excess_at_most": 0.05, "slope_at_least": 0.7}
    where = {"task": "disease", "calibrator": "none"}
    table = pd.DataFrame(
        [
            row("East", metric="ece", excess=0.02, **where),
            row("East", metric="slope", value=0.9, **where),
            row("West", metric="ece", excess=0.2, **where),
            row("West", metric="slope", value=0.9, **where),
            row("South", metric="ece", excess=0.0, **where),
            row("South", metric="slope", value=0.4, **where),
            row("North", metric="ece", excess=0.0, **where),
        ]
    )
    sites = pd.DataFrame([row(site) for site in ("East", "West", "South", "North")])
    tables = {"per_site": sites, "calibration": table}
    verdict = judge(tables, gate(rule), champion=None, differences=None)
    assert verdict.rules[0].sites == ("West", "South", "North")
    assert "West is off by 0.20 beyond noise" in verdict.rules[0].sentence
    assert "South has slope 0.40" in verdict.rules[0].sentence
    assert "North has no calibration slope" in verdict.rules[0].sentence


def test_the_carried_threshold_is_judged_by_the_upper_bound_of_its_gap():
    rule = {"rule": "threshold_transfer", "task": "disease", "gap_at_most": 0.05}
    where = {"task": "disease", "rule": PACKAGED, "metric": "transfer_gap"}
    table = pd.DataFrame(
        [
            row("East", value=-0.02, low=-0.05, high=0.03, **where),
            row("West", value=0.04, low=0.01, high=0.09, **where),
            row("West", value=0.0, low=0.0, high=0.0, **(where | {"rule": "confident"})),
        ]
    )
    tables = {"per_site": pd.DataFrame([row("East"), row("West")]), "operating_points": table}
    verdict = judge(tables, gate(rule), champion=None, differences=None)
    assert verdict.rules[0].sites == ("West",)
    assert "West misses 0.04 more than promised (0.01–0.09)" in verdict.rules[0].sentence


def test_an_override_needs_a_refusal_and_a_written_reason():
    rule = {"rule": "minimum_n", "patients": 30}
    small = {"per_site": pd.DataFrame([row("East", n_patients=12)])}
    refused = judge(small, gate(rule), champion=None, differences=None)
    assert not refused.allowed
    with pytest.raises(InputError, match="written reason"):
        refused.overridden("  because   ")
    forced = refused.overridden("Board of 3 May: pilot at East only, under supervision")
    assert forced.allowed
    assert not forced.passed
    assert forced.tags()["gate.verdict"] == "overridden"
    assert forced.tags()["gate.override"].startswith("Board of 3 May")
    fine = judge({"per_site": pd.DataFrame([row("East")])}, gate(rule), champion=None,
                 differences=None)  # fmt: skip
    with pytest.raises(InputError, match="the candidate passes"):
        fine.overridden("Board of 3 May: pilot at East only, under supervision")


def test_rules_are_read_from_yaml_and_every_fault_is_named(tmp_path):
    file = tmp_path / "gate.yaml"
    file.write_text(
        "rules:\n"
        "  - {rule: minimum_n, patients: 50}\n"
        "  - {rule: worst_site, metric: referable/sensitivity, at_least: 0.8}\n"
    )
    found = load_rules(file)
    assert [rule.rule for rule in found.rules] == ["minimum_n", "worst_site"]
    file.write_text("rules:\n  - {rule: worst_site, metric: auroc}\n  - {rule: kindness}\n")
    with pytest.raises(InputError, match=r"(?s)at_least or at_most.*kindness"):
        load_rules(file)
    file.write_text("rules: [")
    with pytest.raises(InputError, match="not YAML"):
        load_rules(file)
    with pytest.raises(InputError, match="cannot be read"):
        load_rules(tmp_path / "absent.yaml")

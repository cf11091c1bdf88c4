"""What the reader is told to do: every rule, and that no doubt ends as 'no referral'."""

import itertools
from pathlib import Path
from typing import Any

import pytest

from offsite.training.prediction.codes import MEANING, Code, Decision, Status
from offsite.workflows.package.schema import DecisionRules, OperatingPoint, SiteProfile
from offsite.workflows.predict.answers.decisions import CaseDecision, Evidence, decide
from offsite.workflows.predict.answers.rollup import patients_of
from offsite.workflows.predict.output.tables import columns_of

RULES = DecisionRules(positive=("moderate", "severe"), urgent=("severe",), ood_percentile=99)
PROFILE = SiteProfile(
    role="training",
    n=50,
    referral=OperatingPoint(threshold=0.3, origin="validation"),
    urgent=OperatingPoint(threshold=0.6, origin="validation"),
)


def verdict(
    rules: DecisionRules = RULES, profile: SiteProfile = PROFILE, **values: Any
) -> CaseDecision:
    known: dict[str, Any] = {
        "positive": 0.1, "urgent": 0.05, "sets": {90: ("none",), 95: ("none", "moderate")},
        "ood_percentile": 50.0, "calibrated_site": True,
    }  # fmt: skip
    return decide(Evidence(**{**known, **values}), rules, profile)


@pytest.mark.parametrize(
    ("values", "decision", "code"),
    [
        ({}, "no_referral", "ok"),
        ({"positive": 0.2999}, "no_referral", "ok"),
        ({"positive": 0.3, "sets": {90: ("moderate",)}}, "refer", "ok"),
        ({"positive": 0.9, "urgent": 0.6, "sets": {90: ("severe",)}}, "urgent", "ok"),
        ({"ood_percentile": 99.0}, "human_review", "out_of_distribution"),
        ({"ood_percentile": None}, "no_referral", "ok"),
        ({"sets": {90: ()}}, "human_review", "empty_set"),
        ({"sets": {90: ("none", "moderate")}}, "human_review", "ambiguous"),
        ({"sets": {90: ("moderate", "severe")}, "positive": 0.9}, "refer", "ok"),
        ({"sets": {90: ("moderate",)}, "positive": 0.29}, "human_review", "ambiguous"),
        ({"sets": {90: ("moderate", "severe")}}, "human_review", "ambiguous"),
        ({"sets": {90: ("none",)}, "positive": 0.31}, "refer", "ok"),
        ({"ood_percentile": float("nan")}, "human_review", "out_of_distribution"),
        ({"sets": {90: None}}, "no_referral", "ok"),
        ({"calibrated_site": False}, "human_review", "uncalibrated_site"),
        ({"calibrated_site": False, "positive": 0.9, "sets": {90: ("severe",)}}, "refer", "ok"),
        ({"urgent": 0.7, "ood_percentile": 100.0}, "human_review", "out_of_distribution"),
        ({"urgent": 0.7, "sets": {90: ()}}, "human_review", "empty_set"),
        ({"urgent": 0.7, "sets": {90: ("none", "severe")}}, "urgent", "ambiguous"),
    ],
)
def test_each_rule(values: dict[str, Any], decision: str, code: str) -> None:
    decided = verdict(**values)
    assert (decided.decision, decided.code) == (decision, code)
    assert (decided.status is Status.OK) == (code == "ok")
    assert decided.reasons


def test_no_doubt_ever_ends_as_no_referral() -> None:
    for percentile, members, local in itertools.product(
        (None, 50.0, 99.5),
        (None, (), ("none",), ("none", "severe"), ("moderate",), ("moderate", "severe")),
        (True, False),
    ):
        decided = verdict(sets={90: members}, ood_percentile=percentile, calibrated_site=local)
        doubtful = percentile == 99.5 or members not in (None, ("none",)) or not local
        assert (decided.decision is Decision.NO_REFERRAL) == (not doubtful)


def test_what_is_urgent_is_referable_whatever_the_other_threshold_says() -> None:
    decided = verdict(positive=0.2, urgent=0.7, sets={90: ("severe",)})
    assert (decided.decision, decided.urgent, decided.referable) == ("urgent", "yes", "yes")


def test_without_a_threshold_a_person_decides() -> None:
    decided = verdict(profile=SiteProfile(role="pooled", n=0), positive=0.01)
    assert (decided.decision, decided.code) == (Decision.HUMAN_REVIEW, Code.NO_THRESHOLD)
    assert (decided.referable, decided.urgent) == ("indeterminate", "indeterminate")


def test_a_model_may_only_warn_at_a_new_site() -> None:
    decided = verdict(RULES.model_copy(update={"uncalibrated_site": "warn"}), calibrated_site=False)
    assert decided.decision is Decision.NO_REFERRAL
    assert "not locally calibrated" in decided.reasons


@pytest.mark.parametrize(
    ("values", "profile", "said"),
    [
        ({"ood_percentile": None}, PROFILE, "no detector"),
        ({"sets": {90: None, 95: None}}, PROFILE, "no prediction set"),
        ({}, PROFILE.model_copy(update={"urgent": None}), "no urgent threshold"),
    ],
)
def test_what_could_not_be_checked_is_said(
    values: dict[str, Any], profile: SiteProfile, said: str
) -> None:
    assert not any(said in reason for reason in verdict().reasons)
    reasons = verdict(profile=profile, **values).reasons
    assert reasons[0] == "under the referral threshold"
    assert said in reasons[-1]


def record(case: str, decision: str, **changes: Any) -> dict[str, Any]:
    status = {"retake": "excluded"}.get(decision, "ok")
    return {
        "case": case, "patient": "p", "site": "s", "eye": "", "decision": decision,
        "status": status, "referable_probability": 0.5, "duplicate_of": "", **changes,
    }  # fmt: skip


def outcome(*records: dict[str, Any], task: str = "photographs") -> dict[str, Any]:
    (row,) = patients_of(records, task)
    return row


def test_the_worst_eye_is_the_patient() -> None:
    row = outcome(
        record("a", "no_referral", eye="left"),
        record("b", "refer", eye="right", referable_probability=0.6),
        record("c", "refer", eye="right", referable_probability=0.8),
    )
    assert (row["decision"], row["worst_case"], row["images"]) == ("refer", "c", 3)


def test_ungradable_is_never_negative() -> None:
    left, right = record("a", "no_referral", eye="left"), record("b", "retake", eye="right")
    assert outcome(left, right)["decision"] == "retake"
    assert outcome(right)["decision"] == "retake"
    broken = record("b", "human_review", status="error")
    assert outcome(left, broken)["decision"] == "retake"
    assert outcome(record("a", "no_referral"), broken, task="slides")["decision"] == "human_review"
    again = record("c", "no_referral", eye="right")
    assert outcome(left, right, again)["decision"] == "no_referral"
    assert outcome(record("a", "urgent", eye="left"), right)["decision"] == "urgent"


def test_a_copy_counts_once_and_the_nameless_are_left_out() -> None:
    row = outcome(record("a", "refer"), record("b", "refer", duplicate_of="a"))
    assert (row["images"], row["copies"]) == (1, 1)
    assert patients_of([record("a", "refer", patient="")], "slides") == []


def test_one_picture_under_two_names_is_a_mix_up_that_nobody_is_cleared_by() -> None:
    rows = patients_of(
        [record("a", "no_referral"), record("b", "no_referral", patient="q", duplicate_of="a")],
        "photographs",
    )
    assert [row["decision"] for row in rows] == ["human_review", "human_review"]
    # The answer to the picture counts for whoever it is filed under.
    sick = [record("a", "refer"), record("b", "refer", patient="q", duplicate_of="a")]
    assert {r["decision"] for r in patients_of(sick, "photographs")} == {"refer"}
    eyes = outcome(
        record("a", "no_referral", eye="left"),
        record("b", "no_referral", eye="right", duplicate_of="a"),
    )
    assert (eyes["decision"], eyes["copies"]) == ("human_review", 0)
    # First seen without a patient: the named one has it all the same, once.
    named = [
        record("a", "refer", patient=""),
        record("b", "refer", duplicate_of="a"),
        record("c", "refer", duplicate_of="a"),
    ]
    row = outcome(*named)
    assert (row["decision"], row["images"], row["copies"]) == ("refer", 1, 1)
    assert "another patient" not in row["reason"]


def test_a_name_stands_for_one_patient_within_a_site() -> None:
    rows = patients_of(
        [
            record("a", "no_referral", site="north", eye="left"),
            record("b", "urgent", site="south", eye="left"),
            record("c", "retake", site="south", eye="right"),
        ],
        "photographs",
    )
    decided = [(row["site"], row["patient"], row["decision"], row["images"]) for row in rows]
    assert decided == [("south", "p", "urgent", 2), ("north", "p", "no_referral", 1)]


def test_every_code_is_documented() -> None:
    page = (Path(__file__).parents[3] / "docs" / "predict.md").read_text(encoding="utf-8")
    for code in Code:
        assert f"| `{code.value}` |" in page
        assert MEANING[code] in page
    for name in columns_of(()):
        assert f"`{name}`" in page


def test_copies_are_as_bad_as_the_worst_of_them() -> None:
    unread = record("a", "human_review", status="error")
    row = outcome(unread, record("b", "urgent", duplicate_of="a"))
    assert (row["decision"], row["answered"], row["copies"]) == ("urgent", 1, 1)
    scales = outcome(
        record("a", "no_referral"), record("b", "refer", duplicate_of="a"), task="slides"
    )
    assert (scales["decision"], scales["worst_case"]) == ("refer", "b")


def test_a_picture_of_both_eyes_is_a_mix_up_whichever_came_first() -> None:
    sides = [
        record(case, "no_referral", eye=eye, duplicate_of="" if case == "a" else "a")
        for case, eye in (("a", ""), ("b", "left"), ("c", "right"))
    ]
    assert outcome(*sides)["decision"] == "human_review"
    assert outcome(*sides[:2])["decision"] == "no_referral"


def test_what_the_run_has_not_reached_clears_nobody() -> None:
    left, right = record("a", "no_referral", eye="left"), record("b", "no_referral", eye="right")
    waiting = record("c", "human_review", eye="right", status="pending")
    row = outcome(left, right, waiting)
    assert row["decision"] == "human_review"
    assert "1 not reached yet" in row["reason"]
    row = outcome(left, right, record("c", "human_review", eye="right", status="error"))
    assert row["decision"] == "no_referral"
    assert "1 further images without an answer" in row["reason"]

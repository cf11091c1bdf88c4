import pytest

from offsite.evaluation.metrics.names import described, headline_metrics, primary_metric
from offsite.evaluation.wording import (
    counted,
    estimate,
    interval,
    level,
    listed,
    number,
    percent,
    present,
)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.8714, "0.87"), (0.9996, ">0.99"), (1.0, "1.00"), (0.001, "<0.01"), (0.0, "0.00"),
        (-0.2, "−0.20"), (-0.0004, "0.00"), (None, ""),
    ],
)  # fmt: skip
def test_rounding_never_makes_a_number_perfect_or_nothing(value, text):
    assert number(value) == text


def test_an_interval_keeps_its_bounds_apart_from_its_dash():
    assert interval(0.81, 0.999) == "0.81–1.00"
    assert interval(-0.2, 0.1) == "−0.20 to 0.10"
    assert interval(None, 0.1) == ""
    assert interval(0.9987, 1.0) == "0.999–1.000"
    assert interval(1.0, 1.0) == ""


def test_shares_are_not_rounded_to_all_or_none_and_what_was_asked_for_keeps_its_digits():
    assert (percent(0.997), percent(0.002), percent(0.873)) == (
        ">99\u202f%", "<1\u202f%", "87\u202f%"
    )  # fmt: skip
    assert (level(0.975), level(0.9)) == ("97.5\u202f%", "90\u202f%")


def test_sentences_say_where_an_interval_is_missing():
    assert estimate(0.8, 0.7, 0.9, 0.95) == "0.80 (95\u202f% interval 0.70–0.90)"
    assert estimate(0.8, None, None, 0.95) == "0.80 (no interval)"
    assert estimate(0.8, None, None) == "0.80"


def test_lists_and_counts_read_as_english():
    assert listed(["A"]) == "A"
    assert listed(["A", "B", "C"]) == "A, B and C"
    assert counted(1, "image") == "1 image"
    assert counted(1204, "image") == "1,204 images"


def test_an_empty_cell_is_no_number():
    assert present("") is None
    assert present(float("nan")) is None
    assert present("0.5") == 0.5


def test_metrics_of_classes_and_tasks_have_names():
    assert described("sensitivity/mild").label == "sensitivity for mild"
    assert described("referable/specificity").short == "Specificity: referable"
    assert not described("referable/brier").higher


def test_the_page_is_about_what_was_asked_for_or_what_compares_between_sites():
    names = ["accuracy", "auroc", "auroc/mild", "referable/sensitivity", "brier"]
    assert primary_metric(names) == "auroc"
    assert primary_metric(names, "brier") == "brier"
    assert primary_metric(names, "absent") == "auroc"
    assert headline_metrics(names, "auroc") == ["auroc", "brier", "referable/sensitivity"]

import math

import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from offsite.errors import InputError
from offsite.evaluation.tracking.keys import (
    KEY,
    curve_metrics,
    metric_slugs,
    per_site_metrics,
    site_slugs,
    slug,
)

ANY_NUMBER = st.one_of(st.none(), st.floats(), st.integers(-(10**400), 10**400), st.text())


@settings(max_examples=120, deadline=None)
@given(
    st.lists(
        st.tuples(st.text(max_size=80), st.text(max_size=80), ANY_NUMBER, ANY_NUMBER, ANY_NUMBER),
        max_size=6,
    )
)
def test_whatever_the_table_holds_keys_follow_the_grammar_and_values_are_finite(rows):
    columns = ["site", "metric", "value", "low", "high"]
    table = pd.DataFrame(rows, columns=columns, dtype=object).assign(split="test", n=3)
    keys = [slug(site) for site in dict.fromkeys(table["site"])]
    assume(len(set(keys)) == len(keys))
    found = per_site_metrics(table)
    assert all(KEY.fullmatch(key) and len(key) <= 250 for key in found)
    assert all(math.isfinite(value) for value in found.values())


@settings(max_examples=100, deadline=None)
@given(st.text())
def test_a_slug_is_never_empty_never_a_summary_and_stays_itself(name):
    assert slug(name)
    assert not slug(name).startswith("_")
    assert slug(slug(name)) == slug(name)


def test_per_site_keys_carry_value_bounds_and_counts(per_site):
    found = per_site_metrics(per_site)
    assert found == {
        "test/hopital_a/auroc": 0.9,
        "test/hopital_a/auroc.lo": 0.8,
        "test/hopital_a/auroc.hi": 0.95,
        "test/hopital_a/n": 100,
        "test/hopital_a/severe_prevalence": 0.3,
        "test/hopital_a/severe_prevalence.lo": 0.2,
        "test/hopital_a/severe_prevalence.hi": 0.4,
        "test/hopital_a/severe_specificity": 0.9,
        "test/hopital_a/severe_specificity.lo": 0.8,
        "test/hopital_a/severe_specificity.hi": 0.95,
        "test/hopital_a/severe_n_positive": 30,
        "test/clinic_b/n": 12,
        "test/_pooled/auroc": 0.85,
        "test/_pooled/auroc.lo": 0.8,
        "test/_pooled/auroc.hi": 0.9,
        "test/_pooled/n": 112,
        "test/_worst/auroc": 0.9,
        "test/_worst/auroc.lo": 0.8,
        "test/_worst/auroc.hi": 0.95,
        "test/_worst/n": 100,
        "test/_gap_held_out/n": 12,
    }


def test_sites_that_would_share_a_key_are_refused_by_name():
    with pytest.raises(InputError, match="'Site B' and 'site-b' both become 'site_b'"):
        site_slugs(["Site B", "site-b"])


def test_metrics_of_classes_that_differ_in_signs_only_stay_apart():
    found = metric_slugs(["auroc/G1+", "auroc/G1-", "auroc"])
    assert len(set(found.values())) == 3
    assert found["auroc"] == "auroc"


def test_names_without_latin_letters_keep_their_own_slug():
    found = site_slugs(["北京", "上海"])
    assert len(set(found.values())) == 2


def test_the_curves_of_the_fit_loop_become_train_and_val():
    epoch = {
        "epoch": 3,
        "learning_rate": 0.1,
        "losses": {"loss": 0.5, "contrastive": float("nan")},
        "scores": {"auroc": 0.7, "undefined": None},
        "note": "text",
    }
    assert curve_metrics(epoch) == {
        "train/learning_rate": 0.1,
        "train/loss": 0.5,
        "val/auroc": 0.7,
    }

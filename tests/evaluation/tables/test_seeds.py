"""Whether seeds agree: against plain counting."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import softmax

from offsite.evaluation.report.sections.models import seeds_sections
from offsite.evaluation.settings import EvaluationSettings
from offsite.evaluation.tables.alignment import rows_of_test
from offsite.evaluation.tables.seeds import seed_tables


@pytest.fixture(scope="module")
def seeds(make_sites):
    rows = make_sites({"home": 200, "a": 90, "b": 60, "blank": 20}, held_out=("a", "b", "blank"), unlabelled=("blank",), per_patient=2)  # fmt: skip
    rng = np.random.default_rng(0)
    logits = [rows.logits + rng.normal(size=rows.logits.shape) for _ in range(3)]
    models = [replace(rows, logits=z, probabilities=softmax(z, axis=1)) for z in logits]
    order = rng.permutation(len(rows.table))
    return [*models[:2], models[2].select(order)]  # rows may come in any order


@pytest.fixture(scope="module")
def tables(seeds):
    return seed_tables({"many": seeds, "one": seeds[:1]}, EvaluationSettings())


def test_each_image_has_the_least_and_the_most_of_its_seeds(seeds, tables):
    test = [rows_of_test(seed) for seed in seeds]
    by_image = [dict(zip(t.table["image"], t.probabilities, strict=True)) for t in test]
    table = tables["seeds"]
    assert set(table["method"]) == {"many"}
    for row in table.sample(20, random_state=0).to_dict("records"):
        every = np.stack([found[row["image"]] for found in by_image])
        for number, name in enumerate(seeds[0].classes):
            said = [row[f"{what}_{name}"] for what in ("seed_low", "prob", "seed_high")]
            of_class = every[:, number]
            assert said == pytest.approx([of_class.min(), of_class.mean(), of_class.max()])
        assert row["flips"] == (len(set(every.argmax(1))) > 1)
        assert row["called"] == seeds[0].classes[every.mean(0).argmax()]


@pytest.mark.parametrize(("site", "role"), [("a", "held_out"), ("_pooled", "held_out"), ("home", "training")])  # fmt: skip
def test_shares_at_a_site_are_those_of_its_images(tables, site, role):
    images = tables["seeds"]
    here = images[(images["site_role"] == role) & ((images["site"] == site) | (site == "_pooled"))]
    found = tables["seed_agreement"].set_index(["site", "site_role", "metric"])["value"]
    known, wrong = here["label"] != "", here["called"] != here["label"]
    assert found[site, role, "flips"] == pytest.approx(here["flips"].mean())
    assert found[site, role, "wrong_where_agreed"] == pytest.approx(wrong[known & ~here["flips"]].mean())  # fmt: skip
    assert found[site, role, "wrong_where_flipped"] == pytest.approx(wrong[known & here["flips"]].mean())  # fmt: skip


def test_what_is_undefined_is_said_and_intervals_hold_their_values(tables):
    agreement = tables["seed_agreement"]
    blank = agreement[(agreement["site"] == "blank") & (agreement["metric"] != "flips")]
    assert set(blank["reason"]) == {"no_samples"}
    assert blank["value"].isna().all()
    sure = agreement[agreement["reason"] == "ok"]
    assert ((sure["low"] <= sure["value"]) & (sure["value"] <= sure["high"])).all()
    alone = seed_tables({"one": []}, EvaluationSettings())
    assert alone["seeds"].empty
    assert alone["seed_agreement"].empty


def test_the_page_has_a_table_of_it_and_none_of_one_seed(tables):
    (section,) = seeds_sections(tables["seed_agreement"].assign(division="d"))
    assert [group.heading for group in section.tables[0].groups] == ["Held-out sites", "Training sites"]  # fmt: skip
    cells = {(row[0].text, row[1].text): row[2].text for g in section.tables[0].groups for row in g.rows}  # fmt: skip
    assert cells["a", "many"].endswith("%")
    assert seeds_sections(tables["seed_agreement"].head(0).assign(division="d")) == ()


def test_images_of_nobody_in_particular_are_each_a_case(seeds):
    nameless = [replace(seed, table=seed.table.assign(patient="")) for seed in seeds]
    found = seed_tables({"many": nameless}, EvaluationSettings())["seed_agreement"]
    flips = found[found["metric"] == "flips"]
    assert (flips["n_patients"] == flips["n"]).all()

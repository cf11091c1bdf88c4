import re

import pandas as pd
import pytest
from scipy.stats import norm

from offsite.errors import InputError
from offsite.evaluation.report.comparing import write_comparison


def row(method: str, site: str, difference: float | None, half: float, **more: object) -> dict:
    bounds = (None, None) if difference is None else (difference - half, difference + half)
    return {
        "method": method, "site": site, "site_role": "held_out", "metric": "auroc", "seeds": 3,
        "value": 0.8 + (difference or 0), "difference": difference, "n": 100, "n_patients": 50,
        "difference_low": bounds[0], "difference_high": bounds[1], "reason": "ok",
        "p_value": None if difference is None else 2 * norm.sf(abs(difference) / half * 1.96),
    } | more  # fmt: skip


@pytest.fixture
def methods() -> pd.DataFrame:
    rows = [row("plain", site, None, 0) for site in ("A", "B", "C", "_pooled")]
    rows += [row("new", "A", 0.1, 0.05), row("new", "B", -0.1, 0.05), row("new", "C", 0.01, 0.05)]
    rows += [row("new", "_pooled", 0.03, 0.02)]
    return pd.DataFrame(rows)


def text_of(page: str, anchor: str) -> str:
    section = page.split(f'<section id="{anchor}"', 1)[1].split("</section>", 1)[0]
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", "", section.split(">", 1)[1]))


def test_a_method_is_told_site_by_site_and_not_by_its_mean(methods, tmp_path):
    page = write_comparison(methods, tmp_path / "c.html", baseline="plain").read_text()
    text = text_of(page, "summary")
    assert "better at A (+0.10 (0.05–0.15)); worse at B (−0.10 (−0.15 to −0.05))" in text
    assert "undecided at C" in text
    assert "over all held-out rows +0.03" in text
    assert "A method that is better on average can be worse at one hospital." in text


def test_where_less_is_better_signs_are_read_the_other_way(methods, tmp_path):
    page = write_comparison(
        methods.assign(metric="brier"), tmp_path / "c.html", baseline="plain"
    ).read_text()
    text = text_of(page, "summary")
    assert "better at B" in text
    assert "worse at A" in text


def test_confidence_is_told_and_a_difference_without_interval_is_undecided(methods, tmp_path):
    methods.loc[methods["site"] == "A", ["difference_low", "difference_high", "p_value"]] = None
    page = write_comparison(
        methods, tmp_path / "c.html", baseline="plain", confidence=0.9
    ).read_text()
    text = text_of(page, "summary")
    assert "90 % interval over patients" in text
    assert re.search("undecided at (A and C|C and A)", text)


def test_all_that_the_page_asks_is_one_family(methods, tmp_path):
    def worse(rows):
        page = write_comparison(rows, tmp_path / "c.html", baseline="plain").read_text()
        return "worse at B" in text_of(page, "summary"), page.count('class="caution number"')

    assert worse(methods) == (True, 1)
    # One difference at two and a half standard errors among twelve that are none.
    one = methods.assign(p_value=methods["p_value"].where(methods["site"] != "B", 0.012))
    alone = one[one["site"].isin(["B", "_pooled"])]

    def beside(number):
        quiet = [one[one["site"] == "C"].assign(site=f"C{place}") for place in range(number)]
        return worse(pd.concat([alone, *quiet]))

    assert beside(3) == (True, 1)  # four questions: .048
    assert beside(4) == (False, 0)  # five: .06


def test_each_division_is_compared_by_itself(methods, tmp_path):
    both = pd.concat([methods.assign(division="one"), methods.assign(division="two")])
    page = write_comparison(both, tmp_path / "c.html", baseline="plain").read_text()
    ids = re.findall(r'\sid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert "Summary: one" in page
    assert "Summary: two" in page


def test_a_baseline_that_is_no_method_is_named(methods, tmp_path):
    with pytest.raises(InputError, match="'other' is not one of the compared methods"):
        write_comparison(methods, tmp_path / "c.html", baseline="other")

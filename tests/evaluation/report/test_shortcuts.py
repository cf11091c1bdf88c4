"""The section on shortcuts: the model's AUROC beside, and a caution where the lower bound is notable."""

import pandas as pd
import pytest

from offsite.evaluation.report.findings import Findings
from offsite.evaluation.report.sections import shortcuts
from offsite.evaluation.tables.reading import Evaluated


def evaluated(low):
    per_site = pd.DataFrame(
        [("test", site, role, "ill/auroc", 0.9, 0.85, 0.94, 100, 80, "ok")
         for site, role in (("<i>north</i>", "training"), ("far", "held_out"))],
        columns=["split", "site", "site_role", "metric", "value", "low", "high", "n", "n_patients", "reason"],
    )  # fmt: skip
    table = pd.DataFrame(
        [("ill", "<i>north</i>", "within", 0.8, 0.7, 0.9, "ok"),
         ("ill", "<i>north</i>", "across", 0.7, low, 0.8, "ok"),
         ("ill", "far", "across", None, None, None, "too_few_patients")],
        columns=["task", "site", "kind", "auroc", "low", "high", "reason"],
    )  # fmt: skip
    return Evaluated(tables={"per_site": per_site, "shortcuts": table})


@pytest.mark.parametrize(("low", "said"), [(0.61, True), (0.6, False)])
def test_a_lower_bound_above_point_six_from_other_sites_is_said_with_the_model_s_auroc(low, said):
    findings = Findings(evaluated(low))
    told = list(shortcuts.points(findings))
    assert bool(told) is said
    if said:
        assert "<i>north</i> (AUROC 0.70" in told[0].sentence
        assert "the model 0.90" in told[0].sentence
        assert told[0].caution
    rows = [[cell.text for cell in row] for row in shortcuts.section(findings).tables[0].groups[0].rows]  # fmt: skip
    assert rows[0] == ["<i>north</i>", "0.80", "0.70", "0.90"]
    assert rows[1][3] == "0.90"


def test_without_what_was_read_there_is_no_section():
    findings = Findings(Evaluated(tables={"per_site": evaluated(0.5).tables["per_site"]}))
    assert shortcuts.section(findings) is None
    assert list(shortcuts.points(findings)) == []

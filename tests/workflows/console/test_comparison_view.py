"""The table of methods as a person reads it."""

import pandas as pd
import pytest

from offsite.workflows.console.comparison import show


def row(site: str, role: str, method: str, value: float, difference: float) -> dict[str, object]:
    return {
        "site": site, "site_role": role, "method": method, "metric": "auroc", "seeds": 5,
        "value": value, "low": value - 0.1, "high": value + 0.05, "difference": difference,
        "difference_low": difference - 0.1, "difference_high": difference + 0.1,
    }  # fmt: skip


def test_unseen_sites_stand_first_and_names_are_text(capsys: pytest.CaptureFixture[str]) -> None:
    table = pd.DataFrame(
        [
            row("[red]north[/red]", "training", "sc_mil", 0.9, -0.01),
            row("_pooled", "training", "sc_mil", 0.9, -0.01),
            row("south", "held_out", "erm", 0.8, float("nan")),
            row("south", "held_out", "sc_mil", 0.85, 0.053),
            row("_worst", "all", "sc_mil", 0.1, 0.0),
        ]
    )
    show(table, (), 0.9)
    out = capsys.readouterr().out
    assert "difference (90 %)" in out
    lines = [line.strip() for line in out.splitlines()[3:]]
    assert lines[0].split("  ")[0] == "south, unseen"
    assert lines[0].endswith("0.80 (0.70–0.85)")
    assert lines[1].endswith("0.85 (0.75–0.90)  +0.053 (-0.047, +0.153)")
    assert lines[2].startswith("[red]north[/red]")
    assert lines[3].startswith("pooled, trained")
    assert len(lines) == 4

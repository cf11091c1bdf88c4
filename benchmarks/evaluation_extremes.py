"""How often the worst and the best site's intervals hold their truth: docs/evaluation/coverage.md.

    python benchmarks/evaluation_extremes.py [--trials 1000]

Hospitals are simulated on the logit scale, where sites are combined; each has its true value and an
estimate with a standard error. Takes a minute; the slow tests of statistical truth run it.
"""

import argparse
from pathlib import Path

import numpy as np
from scipy.special import expit
from scipy.stats import norm

from offsite.evaluation.settings import EvaluationSettings
from offsite.evaluation.tables.meta_analysis import shrunken_table
from offsite.evaluation.tables.schemas import SCHEMAS

PAGE = Path(__file__).parents[1] / "docs" / "evaluation" / "coverage.md"
# Sites, and the deviation between them on the logit scale; errors are 0.15 to 0.5.
SETTINGS = tuple((sites, tau) for sites in (5, 10, 20) for tau in (0.0, 0.2, 0.5))


def coverage(sites: int, tau: float, trials: int) -> dict[str, float]:
    """Share of trials in which an interval holds the truth of the site that seems worst or best."""
    hits = {"worst raw": 0, "worst shrunken": 0, "best raw": 0, "best shrunken": 0}
    settings = EvaluationSettings()
    for seed in range(trials):
        rng = np.random.default_rng([sites, round(100 * tau), seed])
        errors = rng.uniform(0.15, 0.5, sites)
        truth = 1.5 + tau * rng.normal(size=sites)
        effects = truth + errors * rng.normal(size=sites)
        table = SCHEMAS["per_site"].frame(
            {"split": "test", "site": f"s{i}", "site_role": "held_out", "metric": "auroc"}
            | {"value": expit(effects[i]), "effect": effects[i], "effect_error": errors[i]}
            | {"reason": "ok"}
            for i in range(sites)
        )
        drawn = shrunken_table(table, settings).query("site_role == 'held_out'").set_index("site")
        for word, place in (("worst", int(effects.argmin())), ("best", int(effects.argmax()))):
            width = norm.ppf(0.975) * errors[place]
            hits[f"{word} raw"] += abs(effects[place] - truth[place]) <= width
            row = drawn.loc[f"s{place}"]
            hits[f"{word} shrunken"] += row["low"] <= expit(truth[place]) <= row["high"]
    return {name: count / trials for name, count in hits.items()}


def written(trials: int) -> tuple[str, dict[tuple[int, float], dict[str, float]]]:
    """The page as Markdown, and its numbers."""
    found = {(sites, tau): coverage(sites, tau, trials) for sites, tau in SETTINGS}
    lines = [
        "# Coverage of the worst and the best site",
        "",
        f"Made by `python benchmarks/evaluation_extremes.py` ({trials:,} trials each, standard error "
        f"{100 * np.sqrt(0.05 * 0.95 / trials):.1f} %). Of several sites the one that seems worst is so "
        "partly by chance. Its own 95 % interval (*as measured*) then holds its truth less often than "
        "95 %, the more so the more sites there are and the less they differ; the interval of the "
        "estimate drawn towards the others does not have that fault. The page shows both.",
        "",
        "| sites | deviation between sites (logit) | worst, as measured | worst, drawn | best, as measured "
        "| best, drawn |",
        "|---:|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {sites} | {tau:g} | "
        + " | ".join(f"{100 * share:.1f} %" for share in shares.values())
        + " |"
        for (sites, tau), shares in found.items()
    ]
    return "\n".join([*lines, ""]), found


def main() -> None:
    """Simulate, print and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=1000)
    text, _ = written(parser.parse_args().trials)
    PAGE.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()

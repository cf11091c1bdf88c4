"""What the intervals of the next hospital hold, and how wide they are: docs/evaluation/next_hospital.md.

    python benchmarks/evaluation_next_hospital.py [--trials 1000]

Hospitals are simulated on the logit scale; the next one is drawn anew. Takes a minute or two.
"""

import argparse
from pathlib import Path

import numpy as np
from scipy.special import expit

from offsite.evaluation.settings import EvaluationSettings
from offsite.evaluation.statistics.random_effects import random_effects

PAGE = Path(__file__).parents[1] / "docs" / "evaluation" / "next_hospital.md"
SITES, SPREADS = (3, 4, 6, 10), (0.2, 0.5, 1.0)
MEAN = 1.7  # an area of .85


def counted(sites: int, tau: float, trials: int) -> dict[str, tuple[float, float]]:
    """(coverage, mean width on the scale of areas) of each interval."""
    settings = EvaluationSettings()
    found: dict[str, list[tuple[bool, float]]] = {"95": [], "80": [], "prior": []}
    for seed in range(trials):
        rng = np.random.default_rng([sites, round(100 * tau), seed])
        errors = rng.uniform(0.15, 0.4, sites)
        effects = MEAN + tau * rng.normal(size=sites) + errors * rng.normal(size=sites)
        new = MEAN + tau * rng.normal()
        pooled = random_effects(effects, errors)
        intervals = {
            "95": pooled.prediction_interval(0.95),
            "80": pooled.prediction_interval(0.8),
            "prior": pooled.prior_interval(settings.next_hospital_spread),
        }
        for name, bounds in intervals.items():
            assert bounds is not None
            low, high = expit(np.array(bounds))
            found[name].append((bounds[0] <= new <= bounds[1], float(high - low)))
    return {
        name: (float(np.mean([a for a, _ in rows])), float(np.mean([b for _, b in rows])))
        for name, rows in found.items()
    }


def written(trials: int) -> str:
    """The page as Markdown."""
    spread = EvaluationSettings().next_hospital_spread
    lines = [
        "# Coverage at the next hospital",
        "",
        f"Made by `python benchmarks/evaluation_next_hospital.py` ({trials:,} trials each, standard error "
        f"{100 * np.sqrt(0.05 * 0.95 / trials):.1f} % at 95 %). Sites around an AUROC of .85 that differ by "
        "a normal law on the logit; in each cell the share of new hospitals that the interval holds, and "
        "its mean width as an area. The first two assume nothing of how hospitals differ. The third assumes "
        f"a half-normal prior of scale {spread:g} on the logit (`metrics.next_hospital_spread`): narrow at "
        "three or four sites, and too narrow where hospitals differ more than it expects.",
        "",
        "| sites | deviation between hospitals (logit) | 95 % | 80 % | 95 %, by the prior |",
        "|---:|---:|---:|---:|---:|",
    ]
    for sites in SITES:
        for tau in SPREADS:
            cells = [f"{100 * a:.1f} %, {b:.2f}" for a, b in counted(sites, tau, trials).values()]
            lines.append(f"| {sites} | {tau:g} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def main() -> None:
    """Simulate, print and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=1000)
    text = written(parser.parse_args().trials)
    PAGE.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()

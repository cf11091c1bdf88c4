"""Hospitals that share sums, beside hospitals that share models or nothing.

    python benchmarks/evidence_joined_hospitals.py --out FOLDER

The runs are those of `evidence_real_photographs.py` in FOLDER (`linear`, all stages): of three real
sites two train and the third is left out. Each training site's sums stand for a hospital that keeps its
photographs. *joined*: one head of both sites' sums, as `offsite site join` makes it. *averaged*: a head
of each site alone, their grades averaged. *alone*: the mean of what the two heads reach by themselves.
All have the penalty of the run, and cut points from sums; photographs are those of training alone. Nothing
is chosen here, and the site left out takes no part.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from evidence import arguments, markdown, write_page
from safetensors.numpy import load_file
from scipy import stats
from sklearn.metrics import cohen_kappa_score, roc_auc_score

from offsite.evaluation.predictions.table import load_predictions
from offsite.files import read_json
from offsite.training.heads.refit import cut_points_beside
from offsite.training.heads.site_sums import SiteSums
from offsite.training.heads.sums import RowSums, fit_grades

REFERABLE = 2
NONE = np.empty(0)


def graded(sums: RowSums, penalty: float, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return grades and classes of rows by the head of some sums."""
    ((slope, start),) = fit_grades(sums, [penalty])
    whole = sums.scaled(1 / sums.weights.sum())
    cuts = cut_points_beside(whole, slope, start, NONE, NONE.astype(int), 0.0)
    grades = rows @ slope + start
    return grades, cuts.classes(grades)


def of_run(folder: Path, site: str) -> dict[str, float]:
    """Return AUROC and kappa at the site that a run left out, for each way of sharing."""
    facts = read_json(folder / "run.json")["facts"]
    sums = SiteSums.from_arrays(load_file(folder / "sums.safetensors"), facts["sites_of_sums"])
    predictions = load_predictions(folder)
    here = np.flatnonzero((predictions.table["site"] == site) & (predictions.labels >= 0))
    assert predictions.embeddings is not None
    rows, labels = predictions.embeddings[here].astype(np.float64), predictions.labels[here]
    referable, penalty = labels >= REFERABLE, float(facts["penalty"])
    joined = graded(sums.weighted(), penalty, rows)
    single = [graded(part, penalty, rows) for part in sums.parts]
    mean = np.mean([grades for grades, _ in single], axis=0)
    classes = np.rint(np.mean([classes for _, classes in single], axis=0))
    answers = {"joined": [joined], "averaged": [(mean, classes)], "alone": single}
    found = {}
    for name, each in answers.items():
        found[f"{name}/auroc"] = np.mean([roc_auc_score(referable, grades) for grades, _ in each])
        found[f"{name}/kappa"] = np.mean(
            [cohen_kappa_score(labels, given, weights="quadratic") for _, given in each]
        )
    return found


def main() -> None:
    """Read the finished runs and write the page."""
    given = arguments("joined_hospitals", ("--px", {"type": int, "nargs": "+", "default": [224]}))
    rows = []
    for px in given.px:
        for folder in sorted((given.out / f"runs-{px}-all").glob("linear/without-*/seed-*")):
            site = folder.parent.name.removeprefix("without-")
            rows.append({"px": px, "site": site, "seed": folder.name, **of_run(folder, site)})
    table = pd.DataFrame(rows)
    parts = [(__doc__ or "").strip().split("\n\n", 2)[2].replace("\n", " ")]
    for px, part in table.groupby("px"):
        shown = {
            f"{name}": {
                str(
                    site
                ): f"{runs[f'{name}/auroc'].mean():.3f} / {runs[f'{name}/kappa'].mean():.3f}"
                for site, runs in part.groupby("site")
            }
            for name in ("joined", "averaged", "alone")
        }
        parts += [
            f"## AUROC of referable grades / quadratic kappa at the site left out, {px} px",
            markdown(pd.DataFrame(shown).T.rename_axis("")),
            f"Joined minus averaged, over the {len(part)} runs of three divisions: "
            + "; ".join(f"{metric} {_difference(part, metric)}" for metric in ("auroc", "kappa"))
            + " (mean, 95 % t interval; it speaks of divisions of these three sites and of no others).",
        ]
    write_page(
        given.table, "Evidence: hospitals that share sums", parts,
        "python benchmarks/evidence_joined_hospitals.py --out FOLDER --px "
        + " ".join(map(str, given.px)),
    )  # fmt: skip


def _difference(part: pd.DataFrame, metric: str) -> str:
    gap = (part[f"joined/{metric}"] - part[f"averaged/{metric}"]).to_numpy()
    half = stats.t.ppf(0.975, len(gap) - 1) * gap.std(ddof=1) / np.sqrt(len(gap))
    return f"{gap.mean():+.3f} ({gap.mean() - half:+.3f} to {gap.mean() + half:+.3f})"


if __name__ == "__main__":
    main()

"""Does a run look at the disease? Its evidence maps against lesion masks of photographs it never saw.

    python benchmarks/evidence_where_it_looks.py --data FOLDER --runs FOLDER [FOLDER ...] --px 128

``--data`` holds ``dr_idrid_lesions`` (81 photographs of IDRiD with masks of microaneurysms, haemorrhages and
exudates); ``--runs`` are folders of runs (``<method>/without-dr_idrid/seed-*``): only runs without IDRiD are
judged. What a run's overlay shows, the exact part of each place of its last map in the log-odds of
referral, is laid over the photograph; told is which share of the strongest twentieth of the retina's pixels
lies on lesions, beside the lesions' own share of the retina. Means over photographs and seeds.
"""

import argparse
import os
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import numpy as np
import pandas as pd
from evidence import markdown, write_page
from scipy import stats

from offsite.files import read_json
from offsite.preprocessing.fundus.field_of_view import FieldOfView
from offsite.preprocessing.fundus.photograph import (
    FundusSettings,
    PreparedPhotograph,
    prepare_photograph,
)
from offsite.retina.evidence_map import evidence_maps
from offsite.retina.inference import FundusNetwork, grade_with_maps, load_fundus_model

LESIONS, REFERABLE, TOP, WIDTH = ("MA", "HE", "EX", "SE"), (2, 3, 4), 0.05, 536


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--runs", type=Path, nargs="+", required=True)
    parser.add_argument("--px", type=int, default=128, help="that the runs were prepared at")
    parser.add_argument("--most", type=int, default=10**9, help="photographs at most")
    parser.add_argument("--table", type=Path, default=Path("docs/evidence/where_it_looks.md"))
    return parser.parse_args()


def lesions_of(folder: Path, name: str, shape: tuple[int, int]) -> np.ndarray:
    """Which pixels lie in any lesion's mask (bool, of a shape)."""
    whole = np.zeros(shape, np.uint8)
    for kind in LESIONS:
        file = folder / "masks" / f"{name}_{kind}.png"
        if file.is_file():  # not every photograph has every kind
            mask = cv2.imread(str(file), cv2.IMREAD_GRAYSCALE)
            small = cv2.resize(mask, shape[::-1], interpolation=cv2.INTER_AREA)
            whole |= (small > 0).astype(np.uint8)
    return whole > 0


def spread(evidence: np.ndarray, field: FieldOfView, shape: tuple[int, int]) -> np.ndarray:
    """The evidence at each pixel of a photograph; outside the retina minus infinity."""
    corner = field.centre_x - field.radius_x, field.centre_y - field.radius_y
    scale = evidence.shape[1] / (2 * field.radius_x), evidence.shape[0] / (2 * field.radius_y)
    (a, b), (c, d) = ((s, (0.5 - o) * s - 0.5) for s, o in zip(scale, corner, strict=True))
    laid = cv2.warpAffine(
        np.ascontiguousarray(evidence, np.float32), np.array([[a, 0, b], [0, c, d]]), shape[::-1],
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE,
    )  # fmt: skip
    y, x = np.mgrid[: shape[0], : shape[1]] + 0.5
    inside = ((x - field.centre_x) / field.radius_x) ** 2 + (
        (y - field.centre_y) / field.radius_y
    ) ** 2 <= 1
    return np.where(inside, laid, -np.inf)


@dataclass(frozen=True, eq=False)
class Case:
    """A photograph with its lesions, read once for all runs.

    Attributes
    ----------
    prepared : PreparedPhotograph
        As a run reads it.
    lesions : numpy.ndarray
        H x W bool, of the photograph made small.
    """

    prepared: PreparedPhotograph
    lesions: np.ndarray


def cases_of(folder: Path, names: list[str], px: int) -> list[Case]:
    """Read the photographs and their masks."""
    settings, cases = FundusSettings(px=px, enhancement="matched"), []
    for name in names:
        picture = cv2.cvtColor(
            cv2.imread(str(folder / "images" / f"{name}.jpg")), cv2.COLOR_BGR2RGB
        )
        height = round(picture.shape[0] * WIDTH / picture.shape[1])
        picture = cv2.resize(picture, (WIDTH, height), interpolation=cv2.INTER_AREA)
        lesions = lesions_of(folder, name, picture.shape[:2])
        cases.append(Case(prepare_photograph(picture, settings), lesions))
    return cases


def shares(network: FundusNetwork, cases: list[Case]) -> np.ndarray:
    """N x 2: the share of the strongest evidence on lesions, and that of the retina."""
    rows = []
    for case in cases:
        graded = grade_with_maps(network, case.prepared.pixels[None])
        assert graded.maps is not None
        (evidence,) = evidence_maps(network.classifier, graded.embeddings, graded.maps, REFERABLE)
        laid = spread(evidence, case.prepared.field, case.lesions.shape)
        inside = np.isfinite(laid)
        strongest = inside & (laid >= np.quantile(laid[inside], 1 - TOP))
        rows.append((case.lesions[strongest].mean(), case.lesions[inside].mean()))
    return np.array(rows)


def main() -> None:
    """Judge the runs and write the page."""
    options = arguments()
    folder = options.data / "dr_idrid_lesions"
    names = sorted(path.stem for path in (folder / "images").glob("*.jpg"))[: options.most]
    cases = cases_of(folder, names, options.px)
    found: dict[str, list[np.ndarray]] = {}
    for run in sorted(
        each for root in options.runs for each in root.glob("*/without-dr_idrid/seed-*")
    ):
        record = read_json(run / "run.json")
        if record["status"] != "done":
            continue
        network = load_fundus_model(run / "weights.safetensors", record["facts"]["architecture"])
        found.setdefault(run.parts[-3], []).append(shares(network, cases))
    means = {method: np.mean(runs, axis=0) for method, runs in found.items()}
    heads = [
        "strongest twentieth on lesions",
        "lesions' share of the retina",
        "difference",
        "seeds",
    ]
    lines = {}
    for method, runs in found.items():
        top, chance = means[method].T
        lines[f"`{method}`"] = [
            _mean(top),
            f"{chance.mean():.3f}",
            _mean(top - chance, "+"),
            str(len(runs)),
        ]
        if "deco" in means:
            apart = "–" if method == "deco" else _mean(means["deco"][:, 0] - top, "+")
            lines[f"`{method}`"].append(apart)
    table = pd.DataFrame(lines, index=[*heads, *["`deco` minus it, paired"] * ("deco" in means)]).T
    table.index.name = "method"
    write_page(
        options.table, "Where a run looks", [PREFACE.format(n=len(names), px=options.px), markdown(table)],
        f"python benchmarks/evidence_where_it_looks.py --data FOLDER --runs FOLDER --px {options.px}",
    )  # fmt: skip


def _mean(values: np.ndarray, sign: str = "") -> str:
    half = stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5
    mean = values.mean()
    return f"{mean:{sign}.3f} ({mean - half:{sign}.3f} to {mean + half:{sign}.3f})"


PREFACE = """{n} photographs of IDRiD with lesion masks, at {px} px, by runs that IDRiD took no part in. Of each
photograph the pixels of the retina in the strongest twentieth of the evidence for referral (what the overlay
shows: the exact part of each place of the last map): which share of them lies on a microaneurysm, haemorrhage or
exudate. Means over photographs, of means over seeds; intervals (95 %) are of photographs. The map has some
four to seven places a side, far coarser than a lesion, so no run can come near 1."""


if __name__ == "__main__":
    main()

"""What the evidence commands share: cells that resume, paired intervals, tables for the docs."""

import argparse
import multiprocessing
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats
from sklearn.metrics import f1_score, roc_auc_score

from offsite.files import digest_of, read_json, write_json, write_text

Cell = dict[str, Any]


def arguments(name: str, *further: tuple[str, dict[str, Any]]) -> argparse.Namespace:
    """Read the command line that all evidence commands have, and further options."""
    parser = argparse.ArgumentParser(description=f"Evidence: {name.replace('_', ' ')}")
    parser.add_argument("--out", type=Path, default=Path("build/evidence") / name)
    parser.add_argument("--table", type=Path, default=Path("docs/evidence") / f"{name}.md")
    parser.add_argument("--seeds", type=int, default=5, help="seeds of each cell")
    parser.add_argument("--minutes", type=float, default=30.0, help="stop starting cells after")
    parser.add_argument("--workers", type=int, default=2, help="cells at a time, where it can")
    for option, about in further:
        parser.add_argument(option, **about)
    return parser.parse_args()


def run_cells(
    out: Path, cells: Iterable[Cell], run: Callable[[Cell], dict[str, float | None]],
    minutes: float, workers: int = 1,
) -> pd.DataFrame:  # fmt: skip
    """Run the cells that have no result yet; return the results of all that have one.

    A cell's file is named by the digest of the cell, so a changed setting is a new cell. With
    several workers, processes of one thread each, ``run`` must be a function of a module.
    """
    files = {out / f"{digest_of(cell)[:16]}.json": cell for cell in cells}
    missing = ((file, cell) for file, cell in files.items() if not file.exists())
    deadline = time.monotonic() + 60 * minutes
    if workers == 1:
        for file, cell in missing:
            if time.monotonic() < deadline:
                _run_cell(file, cell, run)
    else:
        spawn = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(workers, spawn, _one_thread) as pool:
            pending: set[Future[None]] = set()
            for file, cell in missing:
                if len(pending) == workers:
                    done, pending = wait(pending, return_when=FIRST_COMPLETED)
                    for future in done:
                        future.result()
                if time.monotonic() < deadline:
                    pending.add(pool.submit(_run_cell, file, cell, run))
            for future in pending:
                future.result()
    found = [read_json(file) for file in files if file.exists()]
    return pd.DataFrame(
        [{**one["cell"], **one["scores"], "cpu_seconds": one["cpu_seconds"]} for one in found]
    )


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


def _run_cell(file: Path, cell: Cell, run: Callable[[Cell], dict[str, float | None]]) -> None:
    begun = time.process_time()
    scores = run(cell)
    seconds = round(time.process_time() - begun, 1)
    write_json(file, {"cell": cell, "scores": scores, "cpu_seconds": seconds})
    shown = {name: round(v, 3) for name, v in scores.items() if v is not None}
    print(f"{cell} {shown} {seconds} s", file=sys.stderr, flush=True)


def scores_of(labels: np.ndarray, probabilities: np.ndarray, prefix: str = "") -> dict[str, float]:
    """Return macro AUROC (one against the rest) and macro-F1 over the classes present."""
    present = [c for c in range(probabilities.shape[1]) if 0 < (labels == c).sum() < len(labels)]
    aurocs = [roc_auc_score(labels == c, probabilities[:, c]) for c in present]
    f1 = f1_score(labels, probabilities.argmax(1), labels=present, average="macro", zero_division=0)
    return {f"{prefix}auroc": float(np.mean(aurocs)), f"{prefix}macro_f1": float(f1)}


def paired(
    table: pd.DataFrame,
    metric: str,
    method: str,
    other: str,
    by: Sequence[str],
    *,
    test_to_training: float = 0.0,
) -> str:
    """Return the mean difference over paired runs and its 95 % t interval, as text.

    Runs of cross-validation share training items. ``test_to_training``, test items over training
    items, widens the interval for it (Nadeau & Bengio 2003, corrected resampled t test).
    """
    wide = table.pivot_table(index=list(by), columns="method", values=metric)
    if method not in wide or other not in wide:
        return "–"
    difference = (wide[method] - wide[other]).dropna().to_numpy()
    if len(difference) < 3:
        return "–"
    mean, n = difference.mean(), len(difference)
    error = difference.std(ddof=1) * np.sqrt(1 / n + test_to_training)
    half = stats.t.ppf(0.975, n - 1) * error
    return f"{mean:+.3f} ({mean - half:+.3f} to {mean + half:+.3f})"


def mean_and_spread(values: pd.Series) -> str:
    """Return mean ± standard deviation, as text; of a single run its value."""
    if len(values) < 2:
        return f"{values.mean():.3f} (1 run)"
    return f"{values.mean():.3f} ± {values.std(ddof=1):.3f}"


def markdown(table: pd.DataFrame) -> str:
    """Return a table as Markdown; its index is the first column."""
    head = [table.index.name or "", *map(str, table.columns)]
    lines = [head, ["---"] * len(head)]
    lines += [
        [str(name), *map(str, row)] for name, row in zip(table.index, table.to_numpy(), strict=True)
    ]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def write_page(path: Path, title: str, parts: Sequence[str], command: str) -> None:
    """Write a page for the docs: title, paragraphs and tables, the command that made it."""
    text = "\n\n".join([f"# {title}", *parts, f"Made by `{command}`; run again, it resumes."])
    write_text(path, text + "\n")
    print(text)

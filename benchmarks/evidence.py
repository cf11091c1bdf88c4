"""What the evidence commands share: cells that resume, paired intervals, tables for the docs."""

import argparse
import json
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

from offsite.files import digest_of, write_text

Cell = dict[str, Any]
KEPT = Path("docs/evidence/cells")
"""Results of finished cells, kept beside the pages that are made from them."""
PLACES = ("data", "features")
"""What a cell says of this machine alone."""


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

    A finished cell is a line of `cells_file`, found again by everything the cell says but its `PLACES`,
    so a changed setting is a new cell. With several workers, processes of one thread each, ``run``
    must be a function of a module.
    """
    file, asked = cells_file(out), {_key(cell): cell for cell in cells}
    found = _finished(file)
    missing = [cell for key, cell in asked.items() if key not in found]
    deadline = time.monotonic() + 60 * minutes
    if workers == 1:
        for cell in missing:
            if time.monotonic() < deadline:
                _keep(file, _run_cell(cell, run))
    else:
        spawn = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(workers, spawn, _one_thread) as pool:
            pending: set[Future[dict[str, Any]]] = set()
            for cell in missing:
                if len(pending) == workers:
                    done, pending = wait(pending, return_when=FIRST_COMPLETED)
                    for future in done:
                        _keep(file, future.result())
                if time.monotonic() < deadline:
                    pending.add(pool.submit(_run_cell, cell, run))
            for future in pending:
                _keep(file, future.result())
    found = _finished(file)
    rows = [found[key] for key in asked if key in found]
    return pd.DataFrame(
        [{**one["cell"], **one["scores"], "cpu_seconds": one["cpu_seconds"]} for one in rows]
    )


def cells_file(out: Path) -> Path:
    """Return the file of the finished cells: beside the docs, or in a folder of the user's own."""
    return (
        KEPT / f"{out.name}.jsonl"
        if out.parts[:2] == ("build", "evidence")
        else out / "cells.jsonl"
    )


def _key(cell: Cell) -> str:
    return digest_of({name: value for name, value in cell.items() if name not in PLACES})


def _finished(file: Path) -> dict[str, dict[str, Any]]:
    if not file.exists():
        return {}
    text = file.read_text()
    whole = text[: text.rfind("\n") + 1]
    if whole != text:  # cut off while a line was written
        write_text(file, whole)
    return {_key(one["cell"]): one for one in map(json.loads, whole.splitlines())}


def _keep(file: Path, result: dict[str, Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a") as lines:
        lines.write(json.dumps(result) + "\n")


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


def _run_cell(cell: Cell, run: Callable[[Cell], dict[str, float | None]]) -> dict[str, Any]:
    begun = time.process_time()
    scores = run(cell)
    seconds = round(time.process_time() - begun, 1)
    kept = {name: value for name, value in cell.items() if name not in PLACES}
    rounded = {name: v if v is None else round(v, 5) for name, v in scores.items()}
    shown = {name: round(v, 3) for name, v in scores.items() if v is not None}
    print(f"{kept} {shown} {seconds} s", file=sys.stderr, flush=True)
    return {"cell": kept, "scores": rounded, "cpu_seconds": seconds}


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
    found = paired_interval(table, metric, method, other, by, test_to_training=test_to_training)
    if found is None:
        return "–"
    mean, half = found
    return f"{mean:+.3f} ({mean - half:+.3f} to {mean + half:+.3f})"


def paired_interval(
    table: pd.DataFrame,
    metric: str,
    method: str,
    other: str,
    by: Sequence[str],
    *,
    test_to_training: float = 0.0,
) -> tuple[float, float] | None:
    """Return what `paired` says as two numbers, the mean and half the interval; of fewer than three pairs nothing."""
    wide = table.pivot_table(index=list(by), columns="method", values=metric)
    if method not in wide or other not in wide:
        return None
    difference = (wide[method] - wide[other]).dropna().to_numpy()
    if len(difference) < 3:
        return None
    mean, n = difference.mean(), len(difference)
    error = difference.std(ddof=1) * np.sqrt(1 / n + test_to_training)
    return float(mean), float(stats.t.ppf(0.975, n - 1) * error)


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

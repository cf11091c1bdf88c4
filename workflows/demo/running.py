"""What both demos do with their cohort: the workflow, then prediction, then what came of it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import typer
from rich.markup import escape

from offsite.cores import usable_cores
from offsite.errors import InputError
from offsite.workflows.console.messages import data, say
from offsite.workflows.console.tables import plain_table, site_title
from offsite.workflows.jobs.job import Job
from offsite.workflows.package.verification import ModelRefused
from offsite.workflows.pipeline import running as snakemake_run
from offsite.workflows.predict import running
from offsite.workflows.predict.batch import BatchOptions
from offsite.workflows.stages.evaluation import EVALUATION
from offsite.workflows.stages.registration import best_run

SHOWN = {
    "pathology": {"auroc": "AUROC", "macro_f1": "macro-F1"},
    "retina": {"auroc": "AUROC", "quadratic_weighted_kappa": "weighted kappa"},
}


def run(config: Path, new_cases: Path, *, features: Path | None = None) -> None:
    """Run a demo's job under the workflow, predict its new cases, and print the results.

    ``features`` is the folder of the new cases' features, where they are what the model reads.
    """
    code = snakemake_run.run(config)
    if code:
        raise typer.Exit(code)
    job = Job.load(config)
    address = (job.output / "workflow" / "registered.txt").read_text(encoding="utf-8").strip()
    results = config.parent / "predictions"
    try:
        running.predict(
            [new_cases],
            address,
            BatchOptions(output=results, workers=usable_cores()),
            tracking_uri=job.tracking_uri,
            features=features,
        )
    except ModelRefused as error:
        raise InputError(str(error), remedy="Remove the demo's folder and run it again") from error
    run_folder = best_run(job)
    _per_site(job, run_folder)
    _predictions(results / "results.csv")
    _where(job, run_folder, address, results)


def _per_site(job: Job, run_folder: Path) -> None:
    table = pd.read_csv(run_folder / EVALUATION / "per_site.csv")
    task = job.configuration.decision.name
    shown = SHOWN[job.configuration.task] | {f"{task}/sensitivity": "sensitivity"}
    names = {name: title for name, title in shown.items() if name in set(table["metric"])}
    view = plain_table(
        "Results by site (SYNTHETIC), 95 % intervals over patients",
        caption="none: too few patients for an interval, or all draws of them agree",
    )
    view.add_column("site", no_wrap=True)
    for column in ("n/pat.", *names.values()):
        view.add_column(column, justify="right", no_wrap=True)
    for (site, role), rows in table.groupby(["site", "site_role"], sort=False):
        if str(site) in ("_gap", "_worst"):
            continue
        by_metric = rows.set_index("metric")
        view.add_row(
            escape(site_title(str(site), str(role))),
            f"{_count(by_metric['n'].max())}/{_count(by_metric['n_patients'].max())}",
            *(_value(by_metric.loc[name].to_dict()) for name in names),
        )
    data.print(view)


def _predictions(table: Path) -> None:
    rows = pd.read_csv(table, keep_default_na=False, encoding="utf-8-sig")
    view = plain_table("New cases, without labels")
    for column in ("case", "prediction", "decision", "why"):
        view.add_column(column)
    for _, row in rows.iterrows():
        cells = (
            Path(row["input"]).name,
            row["prediction"] or row["status"],
            row["decision"].replace("_", " "),
            row["reasons"],
        )
        view.add_row(*(escape(str(cell)) for cell in cells))
    data.print(view)


def _where(job: Job, run_folder: Path, address: str, results: Path) -> None:
    say("")
    say(f"report      {run_folder / EVALUATION / 'report.html'}")
    say(f"worklist    {results / 'index.html'}")
    say(f"MLflow      mlflow ui --backend-store-uri {job.tracking_uri}")
    say(f"model       {address}, alias candidate")


def _count(value: float) -> str:
    return "" if pd.isna(value) else str(int(value))


def _value(row: Mapping[Any, Any]) -> str:
    if pd.isna(row["value"]):
        return str(row["reason"]).replace("_", " ")
    if pd.isna(row["low"]):
        return f"{row['value']:.2f} (none)"
    return f"{row['value']:.2f} ({row['low']:.2f}–{row['high']:.2f})"

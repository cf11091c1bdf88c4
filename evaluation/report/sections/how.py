"""How every number of the page was made: its table, metric, unit, draws and formula."""

from collections.abc import Sequence

from offsite.evaluation.alarms import ALARMS
from offsite.evaluation.metrics.entries import METRICS
from offsite.evaluation.metrics.names import described
from offsite.evaluation.report.content import Cell, Section, Table, listing
from offsite.evaluation.report.findings import Findings
from offsite.evaluation.report.grids import numbers
from offsite.evaluation.statistics.estimates import FEWEST_PATIENTS
from offsite.evaluation.tables.reading import records
from offsite.evaluation.tables.schemas import SCHEMAS
from offsite.evaluation.wording import counted, level, noted, number

ANCHOR = "how"
_EXACT = "exact (Clopper and Pearson) at the effective number of patients"
_PLACED = "placement values by patient (DeLong, Obuchowski), on the logit"
_LOSS = "Student's t on the log, from the spread of the draws"
_KAPPA = "Student's t on Fisher's scale, from the spread of the draws"
_TOGETHER = "exact of each class, put together (Zou and Donner 2008)"
_TO_THE_LOGIT = (
    "of a share of as many rows as there are positive patients, on the logit (Boyd 2013)"
)
_INTERVALS = {
    **dict.fromkeys(("accuracy", "sensitivity", "specificity", "ppv", "npv", "prevalence"), _EXACT),
    **dict.fromkeys(("flag_rate", "transfer_gap", "coverage"), _EXACT),
    **dict.fromkeys(("accuracy_at_threshold", "coverage_at_threshold"), _EXACT),
    **dict.fromkeys(("auroc", "auroc_ovo", "auroc_change", "c2st_auroc"), _PLACED),
    **dict.fromkeys(("auprc", "auprc_at_reference"), _TO_THE_LOGIT),
    **dict.fromkeys(("brier", "log_loss", "log_loss_prior_corrected"), _LOSS),
    **dict.fromkeys(("balanced_accuracy", "macro_f1"), _TOGETHER),
    **dict.fromkeys(("quadratic_weighted_kappa", "linear_weighted_kappa"), _KAPPA),
    **dict.fromkeys(("slope", "intercept"), "sandwich variance by patient, Student's t"),
    **dict.fromkeys(("ece", "ece_debiased"), "none; beside it what noise alone gives, simulated"),
    **dict.fromkeys(("mean_size", "singleton_rate", "empty_rate", "refer_rate"), "none"),
    **dict.fromkeys(("mmd2", "energy", "within_class_mmd2"), "none; patients are permuted"),
}


def section(findings: Findings, parts: Sequence[Section]) -> Section:
    """The metrics that head columns, the tables they stand in, and what was asked of the sites."""
    tables = [table for part in parts for table in part.tables]
    sources = dict.fromkeys(table.source for table in tables if table.source)
    names = {column.about for table in tables for column in table.columns}
    names |= {
        cell.about
        for table in tables
        for group in table.groups
        for row in group.rows
        for cell in row
    }
    return Section(
        anchor=ANCHOR,
        title="How every number was made",
        lead=(_unit(findings),),
        tables=(
            _metrics([name for name in METRICS if name in names]),
            _tables([*sources, "alarms"]),
            _asked(findings),
        ),
        notes=(
            "What the page says against a site is tested together with all else that it might say, "
            "so that a page with nothing to find stays silent in 95 of 100 cases (Holm 1979).",
        ),
    )


def _unit(findings: Findings) -> str:
    settings = findings.evaluated.metrics
    unit = (
        "Images are"
        if findings.evaluated.over_images
        else "Patients, with all of their images, are"
    )
    draws = int(settings.get("resamples", 0))
    drawn = f", {counted(draws, 'time')} (seed {settings.get('seed', 0)})" if draws else ""
    return (
        f"{unit} drawn within each site{drawn}, and the draws are the same for every number. "
        f"Intervals are of {level(findings.confidence)}; where nothing else is said they are the "
        "expanded percentiles of the draws (Hesterberg 2015). With fewer than "
        f"{FEWEST_PATIENTS} patients on a side that a number rests on there is none. The worst site and "
        "the gap have intervals that allow for whichever site it is (Šidák 1967, Tukey). Every column and formula: "
        "docs/evaluation/tables.md; how the numbers come about: docs/evaluation/metrics.md; how often "
        "intervals hold: docs/evaluation/coverage.md."
    )


def _metrics(names: list[str]) -> Table:
    rows = [
        (
            Cell(described(name).label, anchor=f"how-{name}"),
            METRICS[name].formula,
            _INTERVALS.get(name, "draws"),
            METRICS[name].function.replace(":", "."),
        )
        for name in names
    ]
    words = ("Metric", "How it is made", "Interval", "Function of offsite.evaluation")
    return listing("Metrics of this page", words, (), rows)


def _asked(findings: Findings) -> Table:
    rows = [
        (
            row["site"],
            ALARMS.get(row["alarm"], row["alarm"]),
            noted(*numbers(row)) if row["low"] is not None else number(row["value"]),
            number(row["against"]),
            f"{row['p_value']:.2g}",
            Cell(f"{row['adjusted']:.2g}", kind="caution" if row["raised"] else ""),
        )
        for row in records(findings.alarms)
    ]
    caption = f"All that was asked of the sites ({counted(len(rows), 'question')})"
    words, told = ("Site", "What would be said"), ("Seen", "Against", "p", "p, for all questions")
    return listing(caption, words, told, rows, folded=caption, source="alarms")


def _tables(sources: list[str]) -> Table:
    rows = [
        (
            Cell(f"{name}.csv", anchor=f"table-{name}"),
            SCHEMAS[name].meaning,
            SCHEMAS[name].maker.removeprefix("offsite.evaluation.").replace(":", "."),
        )
        for name in sources
    ]
    words = ("Table", "A row is", "Function of offsite.evaluation")
    return listing("Tables that this page was made from", words, (), rows)

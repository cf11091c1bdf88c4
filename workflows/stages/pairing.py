"""Models compared from their predictions of the same images, whoever made them."""

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

from offsite.errors import InputError
from offsite.evaluation.operating_points.complementary import complementary_table
from offsite.evaluation.predictions.checks import check_rows
from offsite.evaluation.predictions.frames import read_predictions
from offsite.evaluation.predictions.table import Predictions
from offsite.evaluation.report.comparing import write_comparison
from offsite.evaluation.report.sections.models import complementary_section
from offsite.evaluation.report.settings import TableSettings
from offsite.evaluation.tables.comparison import compare_methods, paired_differences
from offsite.evaluation.tables.reading import table_text
from offsite.locks import writing
from offsite.workflows.jobs.yaml_settings import load_settings
from offsite.workflows.stages.table_evaluation import stem
from offsite.written import check_own, write_own

_PAGE, _METHODS = "comparison.html", "methods.csv"


def compare_tables(
    tables: Sequence[Path],
    folder: Path | None,
    file: Path | None = None,
    overrides: Sequence[str] = (),
    baseline: str | None = None,
) -> Path:
    """Compare models by their predictions of the same test images; return the page.

    Parameters
    ----------
    tables : sequence of path
        Tables or run folders, at least two, named by their files.
    folder : path, optional
        Where ``comparison.html``, ``methods.csv``, ``differences.csv`` and ``complementary.csv`` are
        written; by default beside the first table.
    file, overrides
        Settings of the evaluation, as of a single table.
    baseline : str, optional
        The model that the others are compared with; unset: the first.

    Raises
    ------
    InputError
        Two tables have one name, the baseline is none of them, or they do not speak of the same test
        images, labels, patients, sites or classes.
    """
    settings = load_settings(file, TableSettings, overrides)
    models = _models(tables, settings)
    chosen = baseline or next(iter(models))
    if chosen not in models:
        raise InputError(
            f"'{chosen}' is none of the tables",
            remedy=f"The models are {', '.join(models)}, by the names of their files",
            code="no_baseline",
        )
    order = [chosen, *(name for name in models if name != chosen)]
    where = folder or tables[0].with_name(f"{'-against-'.join(reversed(order[:2]))}")
    files = [where / name for name in (_METHODS, _PAGE)]
    files += [
        where / f"{name}{_suffix(order, pair)}.csv" for pair in _pairs(order) for name in _PAIRED
    ]
    with writing(where):
        for target in files:
            check_own(target)
        return _written(where, models, order, settings)


_PAIRED = ("differences", "complementary")


def _pairs(order: list[str]) -> list[tuple[str, str]]:
    return [pair for pair in combinations(order, 2) if pair[0] == order[0]]


def _suffix(order: list[str], pair: tuple[str, str]) -> str:
    return "" if len(order) == 2 else f"-{pair[1]}"


def _models(tables: Sequence[Path], settings: TableSettings) -> dict[str, Predictions]:
    models: dict[str, Predictions] = {}
    for table in tables:
        name = stem(table)
        if name in models:
            raise InputError(
                f"two models would be called '{name}'",
                file=table,
                remedy="Rename one of the files: models are known by their names",
                code="two_of_one_name",
            )
        models[name], _ = read_predictions(table, settings.classes, settings.columns)
        check_rows(models[name])
    if len(models) < 2:
        raise InputError("a comparison needs two tables", remedy="Name one for each model")
    return models


def _written(
    where: Path, models: dict[str, Predictions], order: list[str], settings: TableSettings
) -> Path:
    metrics, baseline = settings.report().metrics, order[0]
    methods = compare_methods({name: [models[name]] for name in order}, baseline, metrics)
    write_own(where / _METHODS, table_text(methods))
    sections = []
    for place, pair in enumerate(_pairs(order)):
        first, second = (models[name] for name in pair)
        both = complementary_table(first, second, metrics)
        made = {"differences": paired_differences(first, second, metrics), "complementary": both}
        for name, table in made.items():
            write_own(where / f"{name}{_suffix(order, pair)}.csv", table_text(table))
        anchor = f"complementary-{place}"
        sections.append(complementary_section(both, *pair, metrics.confidence, anchor))
    return write_comparison(
        methods,
        where / _PAGE,
        baseline=baseline,
        title=settings.title if settings.title != "Evaluation" else "Comparison of models",
        primary=settings.primary_metric,
        confidence=metrics.confidence,
        alarm_level=metrics.alarm_level,
        more=sections,
    )

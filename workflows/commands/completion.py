"""What a shell completes: sites and methods of the job or table that the line names.

Nothing here may fail or write: a shell shows whatever is printed as a completion.
"""

import os
import shlex
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

JOBS, TABLES = (".yaml", ".yml"), (".csv", ".parquet")


def sites(incomplete: str) -> list[str]:
    """Sites of the job's cohort, or of the cohort table that the line names."""
    return _beginning(incomplete, _sites)


def methods(incomplete: str) -> list[str]:
    """Methods of the job first, then what else its task can be trained with."""
    return _beginning(incomplete, _methods)


def job_methods(incomplete: str) -> list[str]:
    """Methods of the job alone."""
    return _beginning(incomplete, lambda: _named_methods(_values(_file(JOBS))))


def encoders(incomplete: str) -> list[str]:
    """Names of tile encoders."""

    def names() -> Iterable[str]:
        from offsite.workflows.jobs.modalities import encoder_benches

        return [name for bench in encoder_benches() for name in bench.names]

    return _beginning(incomplete, names)


def _beginning(incomplete: str, names: Callable[[], Iterable[str]]) -> list[str]:
    try:
        return [name for name in dict.fromkeys(names()) if name.startswith(incomplete)]
    except Exception:  # a line that is being typed may name anything; there is no one to tell
        return []


def _file(suffixes: tuple[str, ...]) -> Path:
    """The first file of a kind that the line names.

    The shell's own variable is asked: of a line that breaks off after an option, the parser keeps
    nothing.
    """
    line = os.environ.get("COMP_WORDS") or os.environ.get("_TYPER_COMPLETE_ARGS") or ""
    paths = (Path(word).expanduser() for word in shlex.split(line))
    return next(path for path in paths if path.suffix.lower() in suffixes and path.is_file())


def _values(file: Path) -> dict[str, Any]:
    import yaml

    values = yaml.safe_load(file.read_text(encoding="utf-8"))
    return values if isinstance(values, dict) else {}


def _sites() -> list[str]:
    import pandas as pd

    table = _file((*JOBS, *TABLES))
    if table.suffix.lower() in JOBS:
        table = table.parent / _values(table)["cohort"]
    if table.suffix.lower() == ".parquet":
        named = pd.read_parquet(table, columns=["site"])["site"].astype(str)
    else:
        rows = pd.read_csv(table, dtype=str, keep_default_na=False, encoding="utf-8-sig")
        named = rows.rename(columns=lambda name: name.strip().casefold())["site"]
    return sorted(set(named.str.strip()) - {""})


def _named_methods(values: dict[str, Any]) -> list[str]:
    named = (values.get("cells") or {}).get("methods") or []
    return list(named) or [(values.get("training") or {}).get("method") or _default(values)]


def _default(values: dict[str, Any]) -> str:
    return str(_training(values).model_fields["method"].get_default())


def _methods() -> list[str]:
    values = _values(_file(JOBS))
    return [*_named_methods(values), *_training(values).method_names()]


def _training(values: dict[str, Any]) -> Any:
    from offsite.workflows.jobs.modalities import modality_named

    return modality_named(values["task"]).job_part.model_fields["training"].annotation

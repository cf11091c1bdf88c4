"""What the demos write beside their images: a job's configuration, and tables of cases."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from offsite.written import replacing_own, write_own


def write_job(path: Path, configuration: Mapping[str, Any]) -> Path:
    """Write a configuration in its order; return its path."""
    write_own(path, yaml.safe_dump(dict(configuration), sort_keys=False))
    return path


def write_table(path: Path, table: pd.DataFrame) -> Path:
    """Write a table of cases as CSV; return its path."""
    with replacing_own(path) as temporary:
        table.to_csv(temporary, index=False, lineterminator="\n")
    return path

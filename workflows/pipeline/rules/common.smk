# What every rule needs: the job, read and checked while the workflow is parsed. Rules call the
# `offsite` command and nothing else. Every image ends as a row, so nothing here is dynamic.
import re
import shlex
import sys

from offsite.errors import InputError
from snakemake.exceptions import WorkflowError
from offsite.workflows.jobs.job import Job
from offsite.workflows.pipeline.inputs import (
    before,
    braced,
    everything,
    more_memory,
    settings_of,
    stages_of,
    trained_before,
)

OVERRIDES = [str(text) for text in config.get("overrides", [])]
try:
    JOB = Job.load(workflow.configfiles[0], OVERRIDES)
    CELLS = {cell.name: cell for cell in JOB.cells()}
    REPORTED = [cell.name for cell in JOB.reported()]
except InputError as error:
    raise WorkflowError(str(error)) from error

# Rules ask for these by a function: in a plain text Snakemake takes braces for its own.
CONFIG = shlex.join(
    [str(JOB.file), *(word for text in OVERRIDES for word in ("--set", text))]
)
OFFSITE = f"{shlex.quote(sys.executable)} -m offsite"
SHARDS = JOB.configuration.cells.shards
STAGES = stages_of(JOB)


wildcard_constraints:
    stage="|".join(STAGES),
    part=r"\d+",
    cell="|".join(re.escape(name) for name in CELLS),

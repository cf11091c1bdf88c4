# What every rule needs: the job, read and checked while the workflow is parsed. Rules call the
# `offsite` command and nothing else. Every image ends as a row, so nothing here is dynamic.
import shlex
import sys
from pathlib import Path

from preprocessing.errors import InputError
from snakemake.exceptions import WorkflowError
from workflows.job import Job
from workflows.rule_inputs import cell_markers, images_of_part, stages_of

# One environment for all rules: this installation, or an image that holds it.
container: "docker://offsite"


try:
    JOB = Job.load(workflow.configfiles[0])
    CELLS = {cell.name: cell for cell in JOB.cells()}
except InputError as error:
    raise WorkflowError(str(error)) from error

CONFIG = shlex.quote(str(JOB.file))
OFFSITE = f"{shlex.quote(sys.executable)} -m workflows"
SHARDS = JOB.configuration.cells.shards
STAGES = stages_of(JOB)
# A batch in which some images failed is done (exit code 3): each has its row with the reason.
SOME_MAY_FAIL = "|| test $? -eq 3"


wildcard_constraints:
    stage="|".join(STAGES),
    part=r"\d+",
    cell="|".join(re.escape(name) for name in CELLS),


def more_memory(first_mb):
    """Memory that doubles with each attempt."""
    return lambda wildcards, attempt: first_mb * 2 ** (attempt - 1)

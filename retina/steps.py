"""The stage of photographs by name: their preparation."""

from offsite.training.steps import Step

PREPARE = Step(
    name="prepare",
    help="""Find the field of view of each photograph, crop it, and judge its quality.

Takes a job of photographs; gives prepared.csv, a row for every photograph, and the crops.

Example: offsite workflow prepare job.yaml""",
    settings=("preparation",),
    table="prepared/prepared.csv",
    writes_whole=True,
)
STEPS = (PREPARE,)

"""The last step of the pathology demo: what it would take to forget one of its patients."""

from collections import Counter
from pathlib import Path

from offsite.workflows.console.messages import data, say
from offsite.workflows.jobs.job import Job
from offsite.workflows.patients.found import find, holdings


def show_holdings(config: Path) -> None:
    """Count what holds the first patient of the demo's cohort; nothing is changed."""
    job = Job.load(config)
    patient = str(job.cohort.table["patient"].iloc[0])
    lines = list(holdings(job, find(job, patient)))
    counts = Counter(held.what.split(",")[0] for held in lines)
    said = ", ".join(f"{what} {n}" for what, n in counts.items())
    data.print(f"{patient} is held in {len(lines)} places: {said}", soft_wrap=True)
    say(f"withdrawal  offsite patient forget {config} {patient}")

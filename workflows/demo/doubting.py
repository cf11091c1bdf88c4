"""A step of the retina demo: the grades that most need a second look."""

from pathlib import Path

from offsite.workflows.console.messages import say
from offsite.workflows.doubts.finding import find_doubts
from offsite.workflows.doubts.writing import FOLDER, write_doubts
from offsite.workflows.jobs.job import Job

_SHOWN = 30


def list_doubts(config: Path) -> None:
    """Write the list of the demo's job, which has run, and say where it is."""
    job = Job.load(config)
    page = write_doubts(
        find_doubts(job), job.output / FOLDER, title=job.configuration.title, most=_SHOWN
    )
    say(f"doubts      {page}")

"""The last step of the retina demo: a clinic whose images stay with it joins the head by sums."""

from pathlib import Path

import pandas as pd

from offsite.cores import usable_cores
from offsite.workflows.console.messages import data, say
from offsite.workflows.demo.refitting import judged
from offsite.workflows.jobs.job import Job
from offsite.workflows.site.joining import join
from offsite.workflows.site.sums import export_sums
from offsite.workflows.stages.registration import best_run, package


def join_by_sums(config: Path, cohort: Path, others: Path, site: str) -> None:
    """Let a clinic join the demo's head, and print what that is worth on its other patients.

    Parameters
    ----------
    config : path
        The demo's job, which has run.
    cohort, others : path
        The clinic's labelled cases to sum up, and those that judge; no patient is in both.
    site : str
        The clinic.
    """
    job = Job.load(config)
    run, folder = best_run(job), config.parent / "joining"
    say(f"[bold]join[/bold]      {site}, by sums of its cases; its photographs stay with it")
    before = package(run)
    made = export_sums(
        cohort, str(before), site, folder / site, keep_back=0.0, leave_out_rare=True,
        workers=usable_cores(),
    )  # fmt: skip
    joined = package(join(run, [made.file], folder / "joined"))
    classes = job.configuration.classes
    shipped = judged(str(before), job, others, folder / "as-shipped", classes)
    after = judged(str(joined), job, others, folder / "after", classes)
    patients = pd.read_csv(cohort)["patient"].nunique()
    data.print(
        f"{site}: weighted kappa {shipped.kappa:.2f} as shipped, {after.kappa:.2f} after it joined"
        f" with sums of {patients} patients ({made.file.stat().st_size / 2**20:.0f} MiB and no"
        f" photograph); on {after.cases} photographs of others"
    )

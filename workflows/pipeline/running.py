"""Snakemake on the packaged workflow."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.markup import escape

from offsite.errors import InputError
from offsite.evaluation.tables.reading import RECORD
from offsite.files import in_the_way
from offsite.locks import alone
from offsite.ownership import refuse_link
from offsite.workflows.console.messages import say
from offsite.workflows.jobs.checking import check_job
from offsite.workflows.jobs.job import Job
from offsite.workflows.pipeline.inputs import stages_of
from offsite.workflows.stages.evaluation import EVALUATION
from offsite.written import check_own, check_unchanged, write_own

PROFILES = ("default", "slurm", "kubernetes")
RULES = ("train", "evaluate", "track", "compare", "register")
"""Stages after those from images, which are rules of their names."""
LOCK = "workflow.lock"
_LITTLE_ROOM = 20_000_000  # bytes; weights and checkpoints of a run are of this size
_LOOKS_ONLY = {"--dry-run", "-n", "--report", "--lint", "--unlock", "--dag", "--rulegraph"}


def run(
    config: Path,
    *,
    profile: str = "default",
    cores: int = 0,
    more: Sequence[str] = (),
    overrides: Sequence[str] = (),
) -> int:
    """Run the workflow of a job; return Snakemake's exit code.

    Parameters
    ----------
    config : path
        The job's configuration; checked before Snakemake starts.
    profile : str
        A packaged profile, or the folder of one.
    cores : int
        Cores on this machine; 0 = all.
    more : sequence of str
        Further words for Snakemake. ``--until`` names a stage of the job.
    overrides : sequence of str
        ``name=value`` each, over the settings of the configuration, for every job of the workflow.

    Raises
    ------
    InputError
        The job cannot be done (`offsite.workflows.jobs.checking.check_job`), Snakemake is not
        installed, there is no such profile or stage, or another run works in the same folder.
    """
    if find_spec("snakemake") is None:
        raise InputError(
            "Snakemake is not installed", remedy="Install it with: pip install 'offsite[workflow]'"
        )
    job = Job.load(config, overrides)
    check_job(job)
    call = command(job, profile, cores, _until_stage(job, more), overrides)
    _refuse_strangers(job)
    job.output.mkdir(parents=True, exist_ok=True)
    if _LOOKS_ONLY & set(more):
        return subprocess.run(call, check=False).returncode
    # Snakemake inherits the lock, so that it tells the truth even where `offsite` was killed and
    # Snakemake was not; its own lock files outlive a killed Snakemake.
    with alone(job.output / LOCK, problem="another workflow run works in this folder") as held:
        code = subprocess.run(call, check=False, pass_fds=(held,)).returncode
    if code:
        say(_after_failure(job.output))
    return code


def report(config: Path, output: Path, overrides: Sequence[str] = ()) -> int:
    """Let Snakemake write its page; return its exit code.

    Raises
    ------
    InputError
        As `run`, or something that offsite did not write bears the name of the page.
    """
    check_own(output)
    output.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=output.parent, prefix=".page-") as folder:
        page = Path(folder).absolute() / "page.html"
        code = run(config, cores=1, more=["--report", str(page)], overrides=overrides)
        if not code:
            write_own(output, page.read_bytes())
    return code


def on_device(config: Path, overrides: Sequence[str], device: str | None) -> list[str]:
    """Return the overrides with those that name the device of every stage that has one."""
    if not device:
        return list(overrides)
    job = Job.load(config, overrides)
    names = job.modality.devices
    return [*overrides, *(f"{name}={device}" for name in (*names, "training.fit.device"))]


def _until_stage(job: Job, more: Sequence[str]) -> list[str]:
    """Return Snakemake's words with each stage after ``--until`` as Snakemake knows it.

    The stages from images are one rule to Snakemake: of them the marker of the whole is named.
    """
    words: list[str] = []
    asked = False
    for part in (part for word in more for part in _parts(word)):
        if part.startswith("-"):
            asked = part in ("--until", "-U")
        words.append(_target(job, part) if asked and not part.startswith("-") else part)
    return words


def _parts(word: str) -> list[str]:
    return word.split("=", 1) if word.startswith("--until=") else [word]


def _target(job: Job, name: str) -> str:
    images = stages_of(job)
    if name not in (*images, *RULES):
        raise InputError(
            f"there is no stage '{name}' to stop after",
            file=job.file,
            remedy=f"The stages of this job are {', '.join((*images, *RULES))}",
            code="unknown_stage",
        )
    return f"workflow/{name}.done" if name in images else name


def _refuse_strangers(job: Job) -> None:
    """Refuse what others put where Snakemake expects a result: it removes results to make them anew."""
    refuse_link(job.output / "workflow")
    for cell in job.cells():
        page = job.run_folder(cell) / EVALUATION / "report.html"
        if os.path.lexists(page) and not (page.parent / RECORD).is_file():
            raise in_the_way(page)
        check_unchanged(page)


def _after_failure(folder: Path) -> str:
    """Say what to do next; what failed has said why by itself."""
    goes_on = "then run the same command: what is done stays"
    free = shutil.disk_usage(folder).free
    shown = escape(str(folder))
    if free < _LITTLE_ROOM:
        return f"[red]the disk is full[/red]: {free // 1000} kB are left at {shown}. Make room, {goes_on}"
    return f"[red]not finished[/red]: mend what the messages above name (logs: {shown}/workflow/logs), {goes_on}"


def command(
    job: Job, profile: str, cores: int, more: Sequence[str], overrides: Sequence[str] = ()
) -> list[str]:
    """Return the Snakemake command line of a job."""
    here = Path(str(files("offsite.workflows"))) / "pipeline"
    folder = here / "profiles" / profile if profile in PROFILES else Path(profile).absolute()
    if not (folder / "config.yaml").is_file():
        raise InputError(
            f"no profile '{profile}'",
            file=folder,
            remedy=f"Name {', '.join(PROFILES)} or a folder with a config.yaml",
        )
    return [
        sys.executable,
        "-m",
        "snakemake",
        "--snakefile",
        str(here / "Snakefile"),
        "--configfile",
        str(job.file),
        "--directory",
        str(job.output),
        "--profile",
        str(folder),
        "--nolock",
        *(["--config", f"overrides={json.dumps(list(overrides))}"] if overrides else []),
        *(["--cores", str(cores) if cores else "all"] if profile == "default" or cores else []),
        *more,
    ]


def progress(job: Job) -> Iterator[tuple[str, int, int]]:
    """Yield, for each stage of a job, its name, how many of its parts are done, and of how many."""
    markers, shards = job.output / "workflow", job.configuration.cells.shards
    for stage in stages_of(job):
        done = sum((markers / f"{stage}-{part}.done").is_file() for part in range(1, shards + 1))
        yield stage, done, shards
    cells = job.cells()
    trained = sum((markers / "trained" / f"{cell.name}.done").is_file() for cell in cells)
    yield "train", trained, len(cells)
    reported = job.reported()
    reports = sum((job.run_folder(c) / "evaluation" / "report.html").is_file() for c in reported)
    yield "evaluate", reports, len(reported)
    for name in ("tracked.done", "compared.done", "registered.txt"):
        yield name.split(".")[0], int((markers / name).is_file()), 1

"""``offsite workflow``: the whole job under Snakemake, its single steps, and what can be set."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from offsite.workflows.commands import results, screen, stages
from offsite.workflows.commands.options import Config, Overrides, SetDevice, job_of
from offsite.workflows.jobs.own_modalities import GROUP, STEPS

if TYPE_CHECKING:
    from offsite.training.steps import Step


class JobGroup(TyperGroup):
    """The commands of a job, and the stages of modalities that other packages bring."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names in the order that they are shown in."""
        return [*super().list_commands(ctx), *_brought()]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command; one of another package is made when it is asked for."""
        known = super().get_command(ctx, cmd_name)
        step = None if known is not None else _brought().get(cmd_name)
        return known if step is None else _made(step)


def _brought() -> "dict[str, Step]":
    from importlib.metadata import entry_points

    if not entry_points(group=GROUP):  # as nearly always: nothing is loaded for a help text
        return {}
    from offsite.workflows.jobs.modalities import brought_steps

    return brought_steps()


def _made(step: "Step") -> Any:
    alone = typer.Typer(add_completion=False)
    alone.command(step.name, rich_help_panel=_STEPS)(stages.step_command(step))
    screen.fill_paragraphs(alone)
    return typer.main.get_command(alone)


app = typer.Typer(
    cls=JobGroup,
    help="check, run, status, report: the whole job, done once; its single steps tile, embed,"
    " prepare, track.",
    no_args_is_help=True,
)
_More = Annotated[
    list[str] | None, typer.Argument(metavar="[-- SNAKEMAKE...]", help="Passed on to snakemake.")
]
_JOB, _STEPS, _SETTINGS = "The whole job", "Single steps", "What can be set"


@app.command(rich_help_panel=_JOB)
def check(config: Config, overrides: Overrides = None) -> None:
    """Look at a whole job before anything is computed, without opening an image.

    Takes a job; gives the name of each run that it asks for. Whatever would stop it later is said
    at once (exit code 2): docs/workflow.md lists what is looked at.

    Example: offsite workflow check job.yaml
    """
    from offsite.workflows.jobs.checking import check_job

    job = job_of(config, overrides)
    check_job(job)
    for cell in job.cells():
        typer.echo(cell.name)


@app.command(rich_help_panel=_JOB)
def run(
    config: Config,
    cores: Annotated[int, typer.Option(min=0, help="Cores on this machine; 0 = all.")] = 0,
    profile: Annotated[
        str, typer.Option(help="default, slurm, kubernetes, or the folder of your own profile.")
    ] = "default",
    until: Annotated[
        str, typer.Option(metavar="STAGE", help="Stop after this stage, such as tile or train.")
    ] = "",
    dry_run: Annotated[bool, typer.Option(help="Only say what would be done.")] = False,
    device: SetDevice = None,
    overrides: Overrides = None,
    more: _More = None,
) -> None:
    """Do whatever of a job is not done yet, from the images to the registered model.

    Takes a job; gives its output folder: features, runs, reports, comparison, a model version.

    Example: offsite workflow run job.yaml --until train
    """
    from offsite.workflows.pipeline import running as snakemake_run

    extra = [
        *(["--dry-run"] if dry_run else []),
        *(["--until", until] if until else []),
        *(more or []),
    ]
    code = snakemake_run.run(
        config,
        profile=profile,
        cores=cores,
        more=extra,
        overrides=snakemake_run.on_device(config, overrides or (), device),
    )
    raise typer.Exit(code)


@app.command(rich_help_panel=_JOB)
def status(config: Config, overrides: Overrides = None) -> None:
    """Say how far a job is: done and outstanding, by stage.

    Takes a job; gives a table on the screen.

    Example: offsite workflow status job.yaml
    """
    from rich.table import Table

    from offsite.workflows.console.messages import data
    from offsite.workflows.pipeline.running import progress

    shown = Table("stage", "done", "of", title_justify="left")
    for stage, done, total in progress(job_of(config, overrides)):
        shown.add_row(stage, str(done), str(total))
    data.print(shown)


@app.command(rich_help_panel=_JOB)
def report(
    config: Config,
    output: Annotated[Path, typer.Option("--output", "-o", help="The page to write.")] = Path(
        "workflow.html"
    ),
    overrides: Overrides = None,
) -> None:
    """Write one self-contained page of the workflow, with the report of each run.

    Takes a job that was run; gives a page of HTML.

    Example: offsite workflow report job.yaml -o page.html
    """
    from offsite.workflows.pipeline import running as snakemake_run

    raise typer.Exit(snakemake_run.report(config, output, overrides or ()))


for _step in [step for steps in STEPS.values() for step in steps]:
    app.command(_step.name, rich_help_panel=_STEPS)(stages.step_command(_step))
app.command(rich_help_panel=_STEPS)(results.track)


@app.command(rich_help_panel=_SETTINGS)
def settings() -> None:
    """Print every setting of a job with its default and meaning.

    Takes nothing; gives Markdown, the page docs/settings.md.

    Example: offsite workflow settings
    """
    from offsite.workflows.jobs.settings_page import page

    typer.echo(page(), nl=False)


@app.command(rich_help_panel=_SETTINGS)
def schema() -> None:
    """Print the JSON schema of a job, for editors that complete and check YAML.

    Takes nothing; gives JSON.

    Example: offsite workflow schema
    """
    from offsite.workflows.jobs.settings_page import schema as written

    typer.echo(written(), nl=False)

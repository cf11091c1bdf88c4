"""``offsite cohort doubts``: the labelled cases that most need a second look."""

from typing import Annotated

import typer

from offsite.workflows.commands.options import Config, Overrides, job_of


def doubts(
    config: Config,
    most: Annotated[int, typer.Option(min=1, max=5000, help="Cases to list.")] = 100,
    overrides: Overrides = None,
) -> None:
    """List the cases whose label most needs a second look, with pictures.

    Takes a job whose image stages are done; gives doubts.csv to send round and a page, and prints the
    page's path. Each case is judged by a head that was fitted to other patients. Nothing is
    relabelled; `offsite cohort read --decisions` reads the table back.

    Example: offsite cohort doubts job.yaml --most 50
    """
    from offsite.locks import writing
    from offsite.workflows.console.messages import data, say
    from offsite.workflows.doubts.finding import find_doubts
    from offsite.workflows.doubts.writing import FOLDER, TABLE, check_free, write_doubts
    from offsite.workflows.jobs.checking import check_job

    job = job_of(config, overrides)
    check_job(job)
    folder = job.output / FOLDER
    with writing(job.output, FOLDER):
        check_free(folder)
        found = find_doubts(job)
        page = write_doubts(found, folder, title=job.configuration.title, most=most)
    say(f"{len(found.table)} labelled images were judged; {found.unread} could not be")
    for name, count in found.rare.items():
        say(f"{count} images of {name} were not judged: too few patients")
    for each in found.expected:
        data.print(
            f"wrong labels expected among the first {each.first}: {each.text()}", soft_wrap=True
        )
    say(f"To send round: {folder / TABLE}")
    typer.echo(page)

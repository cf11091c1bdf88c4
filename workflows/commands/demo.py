"""``offsite demo``: the whole job on synthetic hospitals."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    help="pathology, retina, features: the whole job on synthetic hospitals, in minutes.",
    no_args_is_help=True,
)
Output = Annotated[Path, typer.Option("--output", "-o", help="Folder; run again to go on.")]


@app.command()
def pathology(output: Output = Path("demo/pathology")) -> None:
    """Slides: tiles, features, SC-MIL, report, registry, prediction of new slides.

    Takes nothing; gives a folder with cohort, job, results, report, worklist and MLflow store.

    Example: offsite demo pathology -o demo/pathology
    """
    from offsite.locks import writing
    from offsite.workflows.demo import pathology as demo_pathology
    from offsite.workflows.demo import running as demo
    from offsite.workflows.demo import withdrawing

    with writing(output):
        config = demo_pathology.write_demo(output)
        demo.run(config, demo_pathology.write_new_cases(output))
        withdrawing.show_holdings(config)


@app.command()
def features(output: Output = Path("demo/features")) -> None:
    """A folder of features that another tool made, and a table of labels: report, registry, new cases.

    One of the files is of another encoder: it is a row with its reason, and the rest goes on.

    Takes nothing; gives a folder with features, table, job, results, report and worklist.

    Example: offsite demo features -o demo/features
    """
    from offsite.locks import writing
    from offsite.workflows.demo import features as demo_features
    from offsite.workflows.demo import running as demo

    with writing(output):
        config = demo_features.write_demo(output)
        table, folder = demo_features.write_new_cases(output)
        demo.run(config, table, features=folder)


@app.command()
def retina(output: Output = Path("demo/retina")) -> None:
    """Photographs: preparation, a linear head on a pretrained trunk, report, registry, new cases.

    At the end the clinic that was left out fits the last layer with fifty of its own patients, another one
    joins by sums of its cases, and a patient of a further small job withdraws.

    Takes nothing; gives a folder with cohort, job, results, report, worklist and MLflow store.

    Example: offsite demo retina -o demo/retina
    """
    from offsite.locks import writing
    from offsite.workflows.demo import doubting, joining, refitting, withdrawing
    from offsite.workflows.demo import retina as demo_retina
    from offsite.workflows.demo import running as demo

    with writing(output):
        config = demo_retina.write_demo(output)
        demo.run(config, demo_retina.write_new_cases(output))
        doubting.list_doubts(config)
        local, others = demo_retina.write_local_cases(output)
        strange = demo_retina.write_strange_cases(output)
        refitting.refit(config, local, others, strange, demo_retina.HELD_OUT)
        cases = demo_retina.write_joining_cases(output)
        joining.join_by_sums(config, cases, strange, demo_retina.STRANGE.name)
        withdrawing.forget_one(output / "withdrawal")

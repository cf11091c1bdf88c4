"""``offsite model plan-gate``: how often candidates would pass a gate, before there are any."""

from pathlib import Path
from typing import Annotated

import typer


def plan_gate(
    rules: Annotated[Path, typer.Argument(metavar="RULES", help="Rules of a gate (YAML).")],
    prevalence: Annotated[float, typer.Option(help="Share of positive patients (0..1).")],
    patients: Annotated[
        list[int], typer.Option(help="Labelled patients at each hospital; repeatable.")
    ],
    sites: Annotated[int, typer.Option(help="Hospitals that are judged.")] = 4,
    held_out: Annotated[
        int | None, typer.Option("--held-out-sites", help="How many are held out; default: half.")
    ] = None,
    sensitivity: Annotated[
        float, typer.Option(help="Of the champion, and wanted of a threshold (0..1).")
    ] = 0.9,
    specificity: Annotated[
        float, typer.Option(help="Of the champion at that threshold (0..1).")
    ] = 0.85,
    better: Annotated[float, typer.Option(help="Sensitivity that a better one has more.")] = 0.03,
    worse: Annotated[float, typer.Option(help="Sensitivity that a worse one has less.")] = 0.05,
    correlation: Annotated[
        float, typer.Option(help="Of the two models' scores within a class (0..1).")
    ] = 0.8,
    spread: Annotated[
        float, typer.Option(help="How hospitals differ: SD of the distance between the classes.")
    ] = 0.2,
    validation: Annotated[
        int | None, typer.Option(help="Validation patients in all; default: as many as are judged.")
    ] = None,
    draws: Annotated[int, typer.Option(min=1, help="Simulated collections of cases.")] = 2000,
    seed: Annotated[int, typer.Option(min=0, help="Of the draws.")] = 0,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder for table and picture; default: RULES-plan."),
    ] = None,
) -> None:
    """Say how often a gate would pass an equal, a better and a worse candidate.

    Takes the rules and what the hospitals will have; gives the share that passes each rule and all
    of them, as a table, CSV and a picture. Cases are simulated, and judged by the gate itself: what
    an equal candidate seldom passes needs more patients, or rules that look at all sites together.

    Example: offsite model plan-gate gate.yaml --prevalence 0.3 --patients 200 --patients 400
    """
    from pydantic import ValidationError

    from offsite.evaluation.gate.planning.scenario import Scenario
    from offsite.workflows.console.gate_plan import show
    from offsite.workflows.stages.gate_planning import plan_gate as planned

    try:
        scenarios = [
            Scenario(
                prevalence=prevalence, patients=number, sites=sites, held_out=held_out,
                sensitivity=sensitivity, specificity=specificity, better=better, worse=worse,
                correlation=correlation, spread=spread, validation=validation,
            )
            for number in patients
        ]  # fmt: skip
    except ValidationError as error:
        fault = error.errors()[0]
        option = "--" + "-".join(str(part) for part in fault["loc"]).replace("_", "-")
        raise typer.BadParameter(f"{option}: {fault['msg']}") from error
    table, folder = planned(rules, scenarios, output, draws=draws, seed=seed)
    show(table)
    typer.echo(folder)

"""Write docs/evaluation/tables.md: every table, metric and alarm of an evaluation, from the code."""

import sys
from collections.abc import Iterator
from pathlib import Path

from offsite.evaluation.alarms import ALARMS
from offsite.evaluation.metrics.entries import METRICS
from offsite.evaluation.tables.schemas import SCHEMAS

PAGE = Path(__file__).parent / "evaluation" / "tables.md"
_HEAD = """# Tables, metrics and alarms of an evaluation

Made from the code by `make pages`. How the numbers come about: [metrics](metrics.md),
[out of distribution and shift](ood_and_shift.md). An undefined number is an empty cell with a
`reason`."""


def page() -> str:
    """The page as Markdown."""
    return "\n".join([*_lines(), ""])


def _lines() -> Iterator[str]:
    yield _HEAD
    for schema in SCHEMAS.values():
        module, function = schema.maker.split(":")
        yield f"\n## `{schema.name}.csv`\n\n{schema.meaning} (`{module}.{function}`)\n"
        yield "| column | meaning |\n|---|---|"
        for name, meaning in schema.meanings().items():
            yield f"| `{name}` | {meaning} |"
        if schema.more:
            yield f"| `{schema.more}<class>` | images of the class |"
    yield "\n## Metrics\n"
    yield "Of a class a metric is called `<metric>/<class>`, of a task `<task>/<metric>`, of a share of"
    yield "cases `<metric>_80`. Better: more (+), less (-), neither."
    yield "\n| metric | better | how it is made |\n|---|:-:|---|"
    for metric in METRICS.values():
        better = {True: "+", False: "-", None: ""}[metric.higher]
        formula = metric.formula.replace("|", "\\|")
        yield f"| `{metric.name}` | {better} | {formula} |"
    yield "\n## Alarms\n"
    yield "What a page may say of a site. All of it is one family at `metrics.alarm_level` (Holm); a site"
    yield "with fewer than 30 patients is not asked. How often a page with nothing to find says something:"
    yield "[alarms](alarms.md)."
    yield "\n| alarm | what it says |\n|---|---|"
    for name, words in ALARMS.items():
        yield f"| `{name}` | {words} |"


if __name__ == "__main__":
    sys.stdout.write(page())
    PAGE.write_text(page(), encoding="utf-8")

"""How a run's embeddings lie by class and by site, in a sentence, as the run's record has it."""

from collections.abc import Iterator, Mapping
from typing import Any

from offsite.evaluation.report.content import Point
from offsite.evaluation.tables.reading import Evaluated
from offsite.evaluation.wording import number, percent, present


def points(evaluated: Evaluated) -> Iterator[Point]:
    """A caution for each class that hardly exists for the classifier."""
    model = evaluated.facts.get("model", {})
    items: Mapping[str, int] = model.get("geometry", {}).get("train", {}).get("items", {})
    for name, strength in model.get("weak_classes", {}).items():
        yield Point(
            subject="Rare class",
            sentence=(
                f"{name} ({items.get(name, 0):,} of {sum(items.values()):,} training images) hardly "
                "exists for the classifier: on its own images its logit rises by "
                f"{percent(max(strength, 0.0))} of what that of the strongest class does."
            ),
            caution=True,
            about="embeddings",
        )


def notes(evaluated: Evaluated) -> Iterator[str]:
    """One line on validation images, where the run's record has it."""
    found: Mapping[str, Any] = evaluated.facts.get("model", {}).get("geometry", {}).get("val", {})
    said = {name: present(found.get(name)) for name in ("nc1", "site_collapse", "effective_rank")}
    told = []
    if said["nc1"] is not None:
        by_stage = ", ".join(number(present(value)) for value in found.get("nc1_by_stage", ()))
        behind = f" (stage by stage, from the first: {by_stage})" if by_stage else ""
        told.append(
            f"the spread within classes is {number(said['nc1'])} of that between them{behind}"
        )
    if said["site_collapse"] is not None:
        told.append(
            f"within a class the spread within sites is {number(said['site_collapse'])} times that "
            "between them (under 1 the model gathers sites)"
        )
    if said["effective_rank"] is not None:
        active = int(found.get("active_dimensions") or 0)
        told.append(
            f"embeddings vary in {number(said['effective_rank'], 1)} directions (effective rank), and "
            f"{active:,} of their numbers vary at all"
        )
    if told:
        yield f"On validation images, {'; '.join(told)}."

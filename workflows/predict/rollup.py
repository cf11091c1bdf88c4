"""From images to eyes, from eyes or slides to patients: the worst counts, and a gap is no answer."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any

from workflows.predict.codes import Decision, Status

_Patient = tuple[str, str]  # site and name


@dataclass
class _Group:
    images: int = 0
    answered: int = 0
    repeated: int = 0
    mixed_up: bool = False
    worst: tuple[int, float, str] = (len(Decision), 0.0, "")
    eyes: dict[str, "_Group"] = field(default_factory=dict)

    def add(self, decision: Decision, probability: float, case: str, answered: bool) -> None:
        self.images += 1
        self.answered += answered
        # An image without an answer says nothing of its eye as long as another one has one.
        if answered:
            self.worst = min(self.worst, (decision.rank, -probability, case))

    def decision(self) -> Decision:
        return list(Decision)[self.worst[0]] if self.answered else Decision.RETAKE


def patients_of(records: Iterable[Mapping[str, Any]], task: str) -> list[dict[str, Any]]:
    """Return a row for each patient, the most pressing first.

    An eye (or, of slides, a slide) is as bad as its worst answered image. A patient is as bad as
    the worst eye; an eye without any answered image makes 'no referral' a retake (photographs) or
    a human review (slides). A name stands for one patient within a site: two hospitals may both
    have a patient 0001. A copy of an image counts once; the same picture under two patients or
    eyes counts for each, and makes their 'no referral' a human review. Records without a patient
    are left out.
    """
    groups: dict[_Patient, _Group] = {}
    owners: dict[str, dict[_Patient, set[str]]] = {}  # patients of a picture, and as which eyes
    for record in records:
        if not record["patient"]:
            continue
        who = (record["site"], record["patient"])
        patient = groups.setdefault(who, _Group())
        known = owners.setdefault(record["duplicate_of"] or record["case"], {})
        side = record["eye"] if task == "photographs" else ""
        sides = known.setdefault(who, set())
        if sides and (side in sides or not side or "" in sides):
            patient.repeated += 1
            continue
        sides.add(side)
        if len(known) > 1 or len(sides) > 1:
            for owner in known:
                groups[owner].mixed_up = True
        decision = Decision(record["decision"])
        answered = record["status"] in (Status.OK, Status.REVIEW)
        probability = record["referable_probability"] or 0.0
        patient.add(decision, probability, record["case"], answered)
        # Without the side, each image may be the only one of its eye.
        place = record["eye"] if task == "photographs" and record["eye"] else record["case"]
        eye = patient.eyes.setdefault(place, _Group())
        eye.add(decision, probability, record["case"], answered)
    rows = [_row(who, group, task) for who, group in groups.items()]
    place = itemgetter("patient", "site")
    return sorted(rows, key=lambda row: (Decision(row["decision"]).rank, *place(row)))


def _row(who: _Patient, group: _Group, task: str) -> dict[str, Any]:
    missing = sum(not eye.answered for eye in group.eyes.values())
    decision = group.decision()
    what = "eyes or images" if task == "photographs" else "slides"
    reason = f"worst of {group.answered} answered"
    if group.mixed_up:
        reason += "; the same picture stands under another patient or eye"
        if decision is Decision.NO_REFERRAL:
            decision = Decision.HUMAN_REVIEW
    if missing:
        reason += f"; {missing} {what} without an answer"
        if decision in (Decision.NO_REFERRAL, Decision.RETAKE):
            decision = Decision.RETAKE if task == "photographs" else Decision.HUMAN_REVIEW
    return {
        "patient": who[1],
        "site": who[0],
        "decision": decision.value,
        "reason": reason,
        "images": group.images,
        "answered": group.answered,
        "without_answer": missing,
        "copies": group.repeated,
        "worst_case": group.worst[2],
    }

"""From images to eyes, from eyes or slides to patients: the worst counts, and a gap is no answer."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any

from offsite.training.prediction.codes import Decision, Status
from offsite.workflows.jobs.modalities import modality_reading

_Patient = tuple[str, str]  # site and name
_NOTHING = (len(Decision), 0.0, "")
_UNDECIDED = (Decision.NO_REFERRAL, Decision.RETAKE)


@dataclass
class _Image:
    """One picture of a patient with all its copies: rank, probability and case of its worst."""

    case: str
    worst: tuple[int, float, str] = _NOTHING
    sides: set[str] = field(default_factory=set)
    records: int = 0
    pending: bool = False

    def add(self, record: Mapping[str, Any], side: str) -> None:
        self.records += 1
        self.pending |= record["status"] == Status.PENDING
        if side:
            self.sides.add(side)
        if record["status"] in (Status.OK, Status.REVIEW):
            probability = record["referable_probability"] or 0.0
            rank = Decision(record["decision"]).rank
            self.worst = min(self.worst, (rank, -probability, record["case"]))

    @property
    def answered(self) -> bool:
        return self.worst is not _NOTHING

    @property
    def eyes(self) -> set[str]:
        """The eyes it shows; without the side, each image may be the only one of its eye."""
        return self.sides or {self.case}


def patients_of(records: Iterable[Mapping[str, Any]], reads: str) -> list[dict[str, Any]]:
    """Return a row for each patient, the most pressing first.

    An eye (or, of slides, a slide) is as bad as its worst answered image. A patient is as bad as
    the worst eye; an eye without any answered image makes 'no referral' a retake (photographs) or
    a human review (slides), an image that the run has not reached a human review. A name stands
    for one patient within a site: two hospitals may both have a patient 0001. Copies of an image
    are one image, as bad as the worst of them; the same picture under two patients or eyes counts
    for each, and makes their 'no referral' a human review. Records without a patient are left out.
    """
    by_eye = modality_reading(reads).by_eye
    patients: dict[_Patient, dict[str, _Image]] = {}
    owners: dict[str, set[_Patient]] = {}
    for record in records:
        if not record["patient"]:
            continue
        who = (record["site"], record["patient"])
        picture = record["duplicate_of"] or record["case"]
        owners.setdefault(picture, set()).add(who)
        image = patients.setdefault(who, {}).setdefault(picture, _Image(record["case"]))
        image.add(record, record["eye"] if by_eye else "")
    shared = {picture for picture, known in owners.items() if len(known) > 1}
    rows = [_row(who, images, shared, reads, by_eye) for who, images in patients.items()]
    name_and_site = itemgetter("patient", "site")
    return sorted(rows, key=lambda row: (Decision(row["decision"]).rank, *name_and_site(row)))


def _row(
    who: _Patient, images: Mapping[str, _Image], shared: set[str], reads: str, by_eye: bool
) -> dict[str, Any]:
    answered = [image for image in images.values() if image.answered]
    seen = {eye for image in answered for eye in image.eyes}
    missing = len({eye for image in images.values() for eye in image.eyes} - seen)
    worst = min((image.worst for image in answered), default=_NOTHING)
    decision = list(Decision)[worst[0]] if answered else Decision.RETAKE
    n_answered = sum(len(image.eyes) for image in answered)
    reasons = [f"worst of {n_answered} answered"]
    if any(picture in shared or len(image.sides) > 1 for picture, image in images.items()):
        reasons.append("the same picture stands under another patient or eye")
        if decision is Decision.NO_REFERRAL:
            decision = Decision.HUMAN_REVIEW
    if missing:
        what = "eyes or images" if by_eye else reads
        reasons.append(f"{missing} {what} without an answer")
        if decision in _UNDECIDED:
            decision = Decision.RETAKE if by_eye else Decision.HUMAN_REVIEW
    further = sum(not image.answered and image.eyes <= seen for image in images.values())
    if further:
        reasons.append(f"{further} further images without an answer")
    pending = sum(image.pending and not image.answered for image in images.values())
    if pending:
        reasons.append(f"{pending} not reached yet")
        if decision in _UNDECIDED:
            decision = Decision.HUMAN_REVIEW
    return {
        "patient": who[1],
        "site": who[0],
        "decision": decision.value,
        "reason": "; ".join(reasons),
        "images": sum(len(image.eyes) for image in images.values()),
        "answered": n_answered,
        "without_answer": missing,
        "copies": sum(image.records - len(image.eyes) for image in images.values()),
        "worst_case": worst[2],
    }

"""Known limits, and where every number comes from."""

from collections.abc import Iterator, Mapping
from typing import Any

from offsite.evaluation.report.content import Section, group, listing
from offsite.evaluation.report.findings import FEW_PATIENTS, Findings, few
from offsite.evaluation.wording import counted, listed

_TABLE = "Inputs, versions, seeds and settings"
_HEADINGS = {
    "inputs": "Inputs",
    "model": "Model",
    "seeds": "Seeds",
    "versions": "Versions",
    "settings": "Settings",
}


def limits(findings: Findings) -> Section:
    """What the page cannot say: found in the tables, then what its makers add."""
    lead = [
        "The results are retrospective, on the images named here, with the labels they came with; "
        "errors of the labels count as errors of the model. They say nothing about effect on care."
    ]
    held_out = findings.sites("held_out")
    if not held_out:
        lead.append(
            "No held-out site: every site was seen in training, so nothing here tells of a "
            "hospital that was not."
        )
    elif len(held_out) < 3:
        lead.append(
            f"Only {counted(len(held_out), 'held-out site')}: other hospitals may differ more than "
            "these do."
        )
    small = [site for site in findings.sites() if few(row := findings.size(site)) and row["n"]]
    if small:
        lead.append(f"Fewer than {FEW_PATIENTS} patients at {listed(small)}.")
    absent = [
        words
        for name, (words, column) in _EXPECTED.items()
        if findings.evaluated.table(name, column) is None
    ]
    if absent and findings.evaluated.test_only:
        lead.append(
            "There are no rows of training sites to compare with, so this page has nothing on "
            f"{listed(absent)}."
        )
    elif absent:
        lead.append(f"Not measured in this evaluation: {listed(absent)}.")
    lead.extend(str(text) for text in findings.evaluated.facts.get("limits", ()))
    return Section(anchor="limits", title="Known limits", lead=tuple(lead))


_EXPECTED = {
    "calibration": ("calibration", "value"),
    "operating_points": ("thresholds carried between sites", "value"),
    "embeddings": ("embeddings by class and site", "value"),
    "shift": ("shift between sites", "value"),
    "ood": ("detection of foreign images", "value"),
    "conformal": ("prediction sets", "coverage"),
}


def section(findings: Findings) -> Section:
    """Inputs by digest, versions, seeds and settings."""
    groups = []
    for name, heading in _HEADINGS.items():
        content = findings.evaluated.facts.get(name)
        if content not in (None, {}, []):
            rows = ((key or heading, value) for key, value in _flat(content))
            groups.append(group(heading, rows))
    if not groups:
        return Section(
            anchor="provenance",
            title="Provenance",
            lead=("Not recorded: the folder holds no evaluation.json.",),
        )
    return Section(
        anchor="provenance",
        title="Provenance",
        lead=(f"Made {findings.evaluated.facts.get('created', 'at an unknown time')}.",),
        tables=(listing(_TABLE, ("Item", "Value"), (), groups=groups),),
    )


def _flat(value: Any, above: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _flat(item, f"{above}.{key}" if above else str(key))
    elif isinstance(value, list | tuple) and any(isinstance(item, Mapping) for item in value):
        for index, item in enumerate(value):
            yield from _flat(item, f"{above}[{index}]")
    elif isinstance(value, list | tuple):
        yield above, ", ".join(str(item) for item in value)
    else:
        yield above, "" if value is None else str(value)

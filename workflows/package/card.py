"""``card.md``: the model card, generated from ``model.json``; what only people know is left open."""

from collections.abc import Iterable, Sequence

from offsite.workflows.package.schema import POOLED, ModelRecord, OperatingPoint, SiteResult

NOTICE = "Research use only. Not a medical device. Not for diagnosis or treatment decisions."
HEADLINE = (
    "sensitivity",
    "specificity",
    "auroc",
    "quadratic_weighted_kappa",
    "accuracy",
    "macro_f1",
)
_TO_FILL = "_To be filled in by the people responsible for the use of this model._"


def card_text(record: ModelRecord) -> str:
    """Return the card as Markdown."""
    parts = [
        f"# {_plain(record.name)}{' ' + _plain(record.version) if record.version else ''}",
        f"**{NOTICE}**",
        _what(record),
        "## Intended use\n\n" + _TO_FILL + "\n\n- Users:\n- Patients and images it is meant for:\n"
        "- Place in the clinical pathway:\n- Uses that are ruled out:",
        "## Made from\n\n" + _cohort(record),
        "## How it does, site by site\n\n" + _results(record),
        "## When it decides\n\n" + _decisions(record),
        "## Limits\n\n" + _limits(record),
        "## Provenance\n\n" + _provenance(record),
    ]
    return "\n\n".join(parts) + "\n"


def _what(record: ModelRecord) -> str:
    scale = f"{record.mpp:g} um per px" if record.mpp else ""
    scale = f"{record.field_of_view:g} degrees" if record.field_of_view else scale
    lines = [
        ("Reads", f"{record.task}{', ' + scale if scale else ''}"),
        *_features(record),
        ("Answers", f"{_plain(record.target)}: {', '.join(map(_plain, record.classes))}"),
        ("Classes are grades", "yes, from mild to severe" if record.ordinal else "no"),
        ("Network", _plain(record.architecture.name)),
        ("Training sites", ", ".join(map(_plain, record.training_sites))),
        ("Patients trained on", str(record.patients)),
    ]
    if record.words:
        named = sum(bool(name) for name in record.words.names)
        text = f"{len(record.words.names)}, {named} of them named; they keep {record.words.kept:.0%} of"
        lines.append(("Tissue words", f"{text} the log-odds of {record.words.judged} images"))
    return _table(("", ""), lines)


def _features(record: ModelRecord) -> list[tuple[str, str]]:
    """Of a model of features that another tool made: what made them."""
    features = record.preprocessing.get("features")
    if not features:
        return []
    tiles = ", ".join(f"{value:g} {unit}" for unit, value in features.get("tiles", {}).items())
    made = f"{features['encoder']['label']}, {features['dimensions']:,} numbers a tile"
    return [
        ("Features", f"{_plain(made)}{', of tiles of ' + tiles if tiles else ''}"),
        ("Made by", "another tool; offsite never saw the slides, and cannot make these features"),
    ]


def _cohort(record: ModelRecord) -> str:
    if not record.cohort:
        return "No counts were recorded."
    rows = [
        (
            c.site,
            c.role.replace("_", " "),
            c.images,
            c.patients,
            *(c.classes.get(name, 0) for name in (*record.classes, "")),
        )
        for c in record.cohort
    ]
    return _table(("site", "role", "images", "patients", *record.classes, "unlabelled"), rows)


def _results(record: ModelRecord) -> str:
    if not record.results:
        return "No evaluation was recorded: nothing is known of this model at any site."
    metrics = headline(record.results)
    by_name = {(r.site, r.site_role, r.metric): r for r in record.results}
    rows = []
    for site, role in dict.fromkeys((r.site, r.site_role) for r in record.results):
        cells = [by_name.get((site, role, metric)) for metric in metrics]
        shown = [estimate_text(cell) if cell else "" for cell in cells]
        rows.append((site.replace("_", " ").strip(), role.replace("_", " "), *shown))
    return _table(("site", "role", *metrics), rows) + (
        "\n\nTest images; intervals (95 %) are over patients, unless the limits say otherwise."
        " Sensitivity, specificity and predictive values are at the threshold that is chosen for all"
        " training sites together. All that was measured is in `model.json`."
        " A site that is not in this table is a site at which nothing is known."
    )


def headline(results: Sequence[SiteResult]) -> list[str]:
    """Return the metrics that a reader asks for first, in that order, as far as they are there."""
    present = dict.fromkeys(result.metric for result in results)
    headlines = [
        (HEADLINE.index(short), metric)
        for metric in present
        if (short := metric.rsplit("/", 1)[-1]) in HEADLINE
    ]
    return [metric for _, metric in sorted(headlines)] or list(present)


def estimate_text(result: SiteResult) -> str:
    """Return a value with its interval, or why there is none.

    Examples
    --------
    >>> estimate_text(SiteResult(split="test", site="a", metric="auroc", value=0.7, reason="too_few"))
    '0.700 (too few)'
    """
    if result.value is None:
        return f"undefined ({result.reason.replace('_', ' ')})"
    if result.low is None or result.high is None:
        why = "" if result.reason == "ok" else f" ({result.reason.replace('_', ' ')})"
        return f"{result.value:.3f}{why}"
    return f"{result.value:.3f} ({result.low:.3f} to {result.high:.3f})"


def _decisions(record: ModelRecord) -> str:
    rules = record.decision
    rows = []
    for site, profile in sorted(record.profiles.items(), key=lambda pair: pair[0] != POOLED):
        shown = "every other site" if site == POOLED else site
        for what, point in (("referral", profile.referral), ("urgent", profile.urgent)):
            if point is not None:
                rows.append((shown, what, f"{point.threshold:.4f}", _achieved(point), point.origin))
    text = (
        f"Referral for {_list(rules.positive)}"
        + (f"; urgent for {_list(rules.urgent)}" if rules.urgent else "")
        + f". A person must look at images at or over the {rules.ood_percentile:g}th percentile of"
        f" distance from the training images, and where the {rules.ambiguous_set} % prediction"
        " set holds both answers or none."
    )
    if rules.uncalibrated_site == "review":
        text += " At a site without a profile of its own, 'no referral' goes to a person."
    if not rows:
        return text + "\n\nNo threshold could be fitted."
    return text + "\n\n" + _table(("site", "for", "threshold", "sensitivity there", "origin"), rows)


def _achieved(point: OperatingPoint) -> str:
    reached = point.sensitivity
    if reached is None:
        return "unknown"
    if reached.low is None or reached.high is None:
        return f"{reached.value:.3f}"
    return f"{reached.value:.3f} ({reached.low:.3f} to {reached.high:.3f})"


def _limits(record: ModelRecord) -> str:
    lines = [
        "It was measured at the sites above; at any other hospital, camera or scanner its"
        " sensitivity is unknown until local cases are read (`offsite site calibrate`).",
        *record.limits,
        *(
            f"{'all sites together' if site == POOLED else site}: {note}"
            for site, profile in sorted(record.profiles.items())
            for note in profile.notes
        ),
    ]
    return "\n".join(f"- {_plain(line)}" for line in lines) + "\n- Known biases: " + _TO_FILL


def _provenance(record: ModelRecord) -> str:
    rows = [("made", record.created)] if record.created else []
    rows += sorted(record.fingerprints.items())
    rows += [(f"version of {name}", value) for name, value in sorted(record.versions.items())]
    return _table(("", ""), rows)


def _list(names: Sequence[str]) -> str:
    return ", ".join(map(_plain, names))


def _table(header: Sequence[object], rows: Iterable[Sequence[object]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(_plain(str(cell)) for cell in line) + " |" for line in lines)


def _plain(text: str) -> str:
    """Escape what Markdown or HTML would take as markup, so that a name stays a name."""
    for character in ("\\", "|", "`", "*", "[", "]"):
        text = text.replace(character, "\\" + character)
    return text.replace("&", "&amp;").replace("<", "&lt;").replace("\n", " ")

"""What the pages say of a record, in words and without markup."""

from collections.abc import Mapping, Sequence
from typing import Any

from offsite.training.prediction.codes import Decision
from offsite.workflows.package.card import estimate_text, headline
from offsite.workflows.package.schema import POOLED, ModelRecord, SiteResult
from offsite.workflows.predict.output.tables import MOST_WORDS, rests_on, word_name

LABELS: dict[Decision, tuple[str, str]] = {
    Decision.URGENT: ("Urgent", "‼"),
    Decision.REFER: ("Refer", "→"),
    Decision.HUMAN_REVIEW: ("Human review", "?"),
    Decision.RETAKE: ("Retake", "↻"),
    Decision.NO_REFERRAL: ("No referral", "✓"),
}
_ROWS = 12
_WORDS = 6
"""Words of a case that are shown for their share alone."""
_FACT_NAMES = {
    "width": "Width (px)",
    "height": "Height (px)",
    "mpp": "um per px",
    "mpp_source": "Scale from",
    "tiles": "Tiles",
    "vendor": "Format",
    "encoder": "Encoder",
    "layout": "Laid out as",
    "shown": "Picture",
}


def decision_words() -> dict[str, dict[str, str]]:
    """Return label and mark of each decision, the most pressing first."""
    return {d.value: {"label": label, "mark": mark} for d, (label, mark) in LABELS.items()}


def set_text(names: Sequence[str] | None) -> str:
    """Return a prediction set in words.

    Examples
    --------
    >>> set_text(['normal', 'low_grade']), set_text([])
    ('normal, low_grade', 'empty: no class fits')
    """
    if names is None:
        return "not available: too few calibration cases"
    return ", ".join(names) if names else "empty: no class fits"


def quality_text(record: Mapping[str, Any]) -> str:
    """Return the quality of an image in words."""
    word = str(record.get("quality", "not_assessed")).replace("_", " ")
    score = record.get("quality_score")
    reasons = "; ".join(record.get("quality_reasons") or [])
    return (
        word
        + (f" ({score:.2f})" if score is not None else "")
        + (f": {reasons}" if reasons else "")
    )


def profile_text(record: Mapping[str, Any], model: ModelRecord) -> str:
    """Return whose calibration and threshold were used, in words."""
    name = record.get("site_profile", POOLED)
    if name == POOLED:
        return "pooled over the training sites: this site was never checked"
    profile = model.profiles[name]
    how = "local cases" if profile.role == "onboarded" else "its cases in validation"
    return f"{name}: {how}, n = {profile.n}"


def known_at(site: str, model: ModelRecord) -> dict[str, Any]:
    """Return what was measured at a site; where nothing was, at those it had never seen."""
    measured = [row for row in model.results if row.site == site and site]
    if measured:
        return {"heading": f"at {site}", "text": "", "warn": False, "rows": _rows(measured)}
    if not model.results:
        text = "Nothing: no evaluation came with this model."
        return {"heading": "at this site", "text": text, "warn": True, "rows": []}
    other = [row for row in model.results if row.site_role == "held_out" and row.site[:1] != "_"]
    worst = [row for row in model.results if row.site in ("_worst", "_pooled")]
    text = "Nothing was ever measured here. " + (
        "At hospitals that it had not been trained on, it did this:"
        if other
        else "This is what was measured elsewhere:"
    )
    return {
        "heading": "at this site",
        "text": text,
        "warn": True,
        "rows": _rows(other or worst or list(model.results)),
    }


def word_rows(record: Mapping[str, Any], words: Sequence[str]) -> list[dict[str, Any]]:
    """Return the commonest words of a case with their shares, and what the answer rests on.

    Examples
    --------
    >>> told = {"words": {"shares": [0.25, 0.75, 0.0], "falls": [-0.2, 1.5, None]}}
    >>> [(row["name"], row["share"], row["fall"]) for row in word_rows(told, ["", "glands", ""])]
    [('02 glands', 0.75, '+1.50'), ('01', 0.25, '-0.20')]
    """
    told = record.get("words")
    if not told or not words:
        return []
    found = zip(told["shares"], told["falls"], range(1, len(words) + 1), strict=True)
    # The commonest, and those that the answer rests on most.
    known = sorted((each for each in found if each[0] > 0), key=lambda each: (-each[0], each[2]))
    most = sorted(known, key=lambda each: -(each[1] or 0))[:MOST_WORDS]
    shown = [each for place, each in enumerate(known) if place < _WORDS or each in most]
    return [
        {
            "name": word_name(number, words),
            "share": share,
            "fall": "" if fall is None else f"{fall:+.2f}",
            "behind": rests_on(fall) and any(number == each[2] for each in most),
        }
        for share, fall, number in shown
    ]


def fact_rows(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the facts of a record that a reader may want, by name."""
    facts = record.get("facts") or {}
    return [(label, str(facts[name])) for name, label in _FACT_NAMES.items() if name in facts]


def _rows(results: Sequence[SiteResult]) -> list[dict[str, str]]:
    order = {metric: rank for rank, metric in enumerate(headline(results))}
    headlines = [row for row in results if row.metric in order]
    return [
        {
            "site": {"_worst": "worst site", "_pooled": "all together"}.get(row.site, row.site),
            "role": row.site_role.replace("_", " "),
            "metric": row.metric.replace("/", ": ").replace("_", " "),
            "estimate": estimate_text(row),
            "n": "" if row.n is None else str(row.n),
        }
        for row in sorted(headlines, key=lambda row: (order[row.metric], row.site))[:_ROWS]
    ]


def unlikeness(record: Mapping[str, Any]) -> float | None:
    """Return the greater percentile of the two distances from known images, None without either.

    Examples
    --------
    >>> unlikeness({"ood_percentile": 40.0, "trunk_percentile": 99.5})
    99.5
    """
    known = [record.get(name) for name in ("ood_percentile", "trunk_percentile")]
    return max((float(value) for value in known if value is not None), default=None)

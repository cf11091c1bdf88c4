"""The names under which numbers and models reach MLflow: a small grammar, and finite values only.

``<split>/<site>/<metric>[.lo|.hi]`` for a per-site table, where ``<site>`` is a slug or one of
``_pooled``, ``_worst``, ``_gap``; ``train/<loss>`` and ``val/<score>`` for the curves of a run.
"""

import hashlib
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from offsite.errors import InputError

_SUMMARY = re.compile(r"_[a-z0-9][a-z0-9_]*")
KEY = re.compile(r"[a-z0-9_]+(/(_?[a-z0-9][a-z0-9_]*))?/[a-z0-9_]+(\.(lo|hi))?")
_CURVES = {"losses": "train", "scores": "val"}
_SLUG_LENGTH = 60
_OF_TASK = "/prevalence"
MODEL_NAME = r"^[^/:\"'\x00-\x1f]+$"
"""A registered model: no part of an address (``models:/name/1``), nothing that ends a quotation."""
LONGEST_NAME = 100


def slug(name: str) -> str:
    """Lower-case ASCII letters, digits and single underscores; never empty, never ``_`` first.

    A name without any such character, or a very long one, is known by a digest of itself.

    >>> slug("Hôpital Saint-Louis")
    'hopital_saint_louis'
    """
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    text = re.sub(r"[^a-z0-9]+", "_", plain).strip("_")
    if not text:
        return f"x{_digest(name)}"
    if len(text) <= _SLUG_LENGTH:
        return text
    return f"{text[: _SLUG_LENGTH - 9].rstrip('_')}_{_digest(name)}"


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:8]


def site_slugs(names: Iterable[str]) -> dict[str, str]:
    """The slug of each site; summaries that begin with ``_`` (``_pooled``) stay as they are.

    Raises
    ------
    InputError
        Two sites have one slug, so that their numbers would be mixed.

    Examples
    --------
    >>> site_slugs(['St. Mary', 'St Mary'])
    Traceback (most recent call last):
    offsite.errors.InputError: the site names 'St. Mary' and 'St Mary' both become 'st_mary' in MLflow. Rename one site so that they differ in letters or digits
    """
    slugs: dict[str, str] = {}
    for name in dict.fromkeys(names):
        key = name if _SUMMARY.fullmatch(name) else slug(name)
        if key in slugs.values():
            other = next(known for known, value in slugs.items() if value == key)
            raise InputError(
                f"the site names '{other}' and '{name}' both become '{key}' in MLflow",
                remedy="Rename one site so that they differ in letters or digits",
                code="name_collision",
            )
        slugs[name] = key
    return slugs


def metric_slugs(names: Iterable[str]) -> dict[str, str]:
    """The slug of each metric; classes that differ only in signs (``G1+``, ``G1-``) get a digest."""
    distinct = list(dict.fromkeys(names))
    taken = Counter(slug(name) for name in distinct)
    return {
        name: slug(name) if taken[slug(name)] == 1 else f"{slug(name)}_{_digest(name)}"
        for name in distinct
    }


def per_site_metrics(table: pd.DataFrame) -> dict[str, float]:
    """The metrics of a per-site table by key: value, bounds and counts, where finite.

    ``n`` is the images of a place, ``<task>_n_positive`` those of them that are positive.

    Parameters
    ----------
    table : pandas.DataFrame
        Columns ``split, site, metric, value, low, high`` and, where present, ``site_role``, ``n``
        and ``n_positive``.

    Raises
    ------
    InputError
        Two sites have one slug.
    """
    sites = site_slugs(table["site"].astype(str))
    names = metric_slugs(table["metric"].astype(str))
    # A class has positives of its own in each of its metrics; of the site there are a task's alone.
    tasks = metric_slugs(name.removesuffix(_OF_TASK) for name in names if name.endswith(_OF_TASK))
    metrics: dict[str, float] = {}
    for row in table.to_dict("records"):
        prefix = (
            f"{slug(str(row['split']))}/{site_key(sites[str(row['site'])], row.get('site_role'))}"
        )
        key = f"{prefix}/{names[str(row['metric'])]}"
        _put(metrics, key, row.get("value"))
        _put(metrics, f"{key}.lo", row.get("low"))
        _put(metrics, f"{key}.hi", row.get("high"))
        # Metrics of one site may rest on different numbers of images: the largest is the site.
        images = finite(row.get("n"))
        if images is not None and images >= metrics.get(f"{prefix}/n", 0):
            metrics[f"{prefix}/n"] = images
        metric = str(row["metric"])
        if metric.endswith(_OF_TASK):
            task = tasks[metric.removesuffix(_OF_TASK)]
            _put(metrics, f"{prefix}/{task}_n_positive", row.get("n_positive"))
    return metrics


def site_key(site: str, role: Any) -> str:
    """A slug with its role where it is a summary: ``_pooled`` over all sites, ``_pooled_held_out`` over those of a role."""
    if not site.startswith("_") or not isinstance(role, str) or role in ("", "all"):
        return site
    return f"{site}_{slug(role)}"


def curve_metrics(epoch: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of one epoch by key: losses under ``train/``, scores under ``val/``.

    Nested groups are known by their name, ``losses`` and ``scores`` being those of the fit loop;
    a number outside any group belongs to training. Text and undefined numbers are left out.
    """
    metrics: dict[str, float] = {}
    for name, value in _flat(epoch):
        if name == ("epoch",):
            continue
        parts = [part for piece in name for part in piece.split("/") if part]
        group = _CURVES.get(parts[0], parts[0]) if len(parts) > 1 else "train"
        rest = parts[1:] if len(parts) > 1 else parts
        _put(metrics, f"{slug(group)}/{'_'.join(slug(part) for part in rest)}", value)
    return metrics


def finite(value: Any) -> float | None:
    """The value as a float where it is a finite number, else ``None``.

    Examples
    --------
    >>> finite(0.5), finite(float('nan')), finite('text')
    (0.5, None, None)
    """
    if value is None or isinstance(value, str | bytes | bool):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    # MLflow stores NaN as 0 with a mark and silently replaces infinities: neither is ever sent.
    return number if math.isfinite(number) else None


def _put(metrics: dict[str, float], key: str, value: Any) -> None:
    number = finite(value)
    if number is not None and KEY.fullmatch(key):
        metrics[key] = number


def _flat(
    value: Mapping[str, Any], above: tuple[str, ...] = ()
) -> Iterable[tuple[tuple[str, ...], Any]]:
    for name, item in value.items():
        if isinstance(item, Mapping):
            yield from _flat(item, (*above, str(name)))
        else:
            yield (*above, str(name)), item


def check_model_name(name: str) -> None:
    """Refuse a name under which a model could be neither kept nor asked for.

    Raises
    ------
    InputError
        Code ``model_name``.

    Examples
    --------
    >>> check_model_name("tumour grade 2")
    """
    kept = re.fullmatch(MODEL_NAME, name) and name.strip() not in ("", ".", "..")
    if not kept or len(name) > LONGEST_NAME:
        raise InputError(
            f"{name!r} cannot be the name of a registered model",
            remedy=f"Use at most {LONGEST_NAME} characters, none of them / : or a quotation mark",
            code="model_name",
        )

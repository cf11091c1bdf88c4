"""What a package says of hospitals that joined its head by sums, or left it."""

from collections.abc import Iterator, Mapping
from typing import Any

from offsite.workflows.package.schema import SiteCounts


def joined_sites(facts: Mapping[str, Any]) -> Iterator[SiteCounts]:
    """Yield the counts of each hospital that joined a run, from what the run tells of itself."""
    for one in facts.get("joined", []):
        yield SiteCounts(
            site=one["site"],
            role="training",
            images=sum(one["cases"].values()),
            patients=one["all_patients"],
            classes=one["cases"],
        )


def joined_limits(facts: Mapping[str, Any]) -> Iterator[str]:
    """Yield what must be known of a head that hospitals joined or left.

    Examples
    --------
    >>> facts = {"joined": [{"site": "north"}], "left": ["west"]}
    >>> [limit.split(":")[0] for limit in joined_limits(facts)]
    ['north joined the head by sums of its cases', 'west left the head']
    """
    for one in facts.get("joined", []):
        yield (
            f"{one['site']} joined the head by sums of its cases: thresholds, temperature and"
            " results are of the other sites, until it is calibrated there with cases kept back."
        )
    for site in facts.get("left", []):
        yield (
            f"{site} left the head: no sum or row of it remains, but the penalty of the head was"
            " chosen when its patients were there."
        )

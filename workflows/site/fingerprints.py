"""What sums over cases hang on, as digests: sums of two hospitals add up only where all are equal."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from offsite.errors import InputError
from offsite.files import digest_of
from offsite.training.trunk.weights import content_digest
from offsite.workflows.package.folder import Package

if TYPE_CHECKING:
    from torch import Tensor

_HEAD = "classifier."
_WORDS = {
    "network": "another network below the head",
    "preparation": "other settings from file to model-ready input",
    "encoder": "another tile encoder",
}


def of_package(package: Package) -> dict[str, str]:
    """Return the digests of a package, by name."""
    record = package.record
    encoder = record.fingerprints.get("encoder", "")
    return fingerprints(package.weights, record.preprocessing, encoder)


def fingerprints(
    weights: "Mapping[str, Tensor]", preprocessing: Mapping[str, Any], encoder: str
) -> dict[str, str]:
    """Return ``network`` (all weights but the head's), ``preparation`` and ``encoder``.

    Parameters
    ----------
    weights : mapping of str to Tensor
        Of the whole network.
    preprocessing : mapping
        As a package has it; how small the smallest training slide was does not count.
    encoder : str
        Digest of the tile encoder, "" where there is none.
    """
    settings = {name: value for name, value in preprocessing.items() if name != "fewest_tiles"}
    below = {name: tensor for name, tensor in weights.items() if not name.startswith(_HEAD)}
    return {
        "network": content_digest(below),
        "preparation": digest_of(settings),
        "encoder": encoder,
    }


def check_same(site: str, theirs: Mapping[str, str], ours: Mapping[str, str]) -> None:
    """Refuse sums of another network, preparation or encoder than a run has.

    Raises
    ------
    InputError
        Code ``other_model``, naming what differs.
    """
    other = [words for name, words in _WORDS.items() if theirs.get(name) != ours[name]]
    if other:
        raise InputError(
            f"the sums of {site} are of {' and '.join(other)}: they do not add up with the run's",
            remedy=f"Send {site} the package of the run, and let it make the sums with that",
            code="other_model",
        )

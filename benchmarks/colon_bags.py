"""Bags of real colon tiles: which adenoma a few lesion tiles among normal ones are of."""

from functools import lru_cache
from pathlib import Path

import numpy as np
from colon_features import CLASSES, LABORATORIES, SITES, features_of, tiles_of
from mil_runs import BagSet

TILES, LESION_TILES = 32, 3
TRAINING, TEST = 80, 60
"""Bags: of the first class (training), of each class (test)."""
_PARTS = (0.6, 0.75)  # of the first site's tiles: training up to here, validation up to there
MOST, FEW = 16, 4
"""Training bags of a laboratory: of the class that it sees most, and of each other class."""


def bags_of(
    data: Path, features: Path, encoder: str, ratio: int, seed: int, first: int = TRAINING
) -> dict[str, BagSet]:
    """Return bags named ``training``, ``validation``, A, B and C.

    A bag holds 3 tiles of its class (tubular, villous or serrated adenoma) and 29 of normal mucosa.
    The tiles of site A are divided into training, validation and test before bags are drawn of them;
    tiles come again in other bags of the same part. Training has ``first`` bags of the first class,
    validation a fifth of that, and both 1 / ``ratio`` of it of the others.
    """
    rows, classes = _features(data, features, "A", encoder)
    part = _parts(classes, seed)

    def drawn(which: int, counts: list[int], draw: int) -> BagSet:
        here = part == which
        return _draw(rows[here], classes[here], counts, np.random.default_rng([seed, draw, ratio]))

    def thinned(most: int) -> list[int]:
        return [most] + [max(round(most / ratio), 1)] * (len(CLASSES) - 2)

    even = [TEST] * (len(CLASSES) - 1)
    found = {
        "training": drawn(0, thinned(first), 1),
        "validation": drawn(1, thinned(first // 5), 2),
    }
    found["A"] = _draw(rows[part == 2], classes[part == 2], even, np.random.default_rng([seed, 3]))
    for number, site in enumerate(SITES[1:]):
        there = _features(data, features, site, encoder)
        found[site] = _draw(*there, even, np.random.default_rng([seed, 4 + number]))
    return found


def bags_of_laboratories(
    data: Path, features: Path, encoder: str, seed: int, left_out: str = ""
) -> dict[str, BagSet]:
    """Return bags named ``training``, ``validation``, A, D, E, B and C.

    The tiles of the first folder are divided into training, validation and test as in `bags_of`, and
    each part among three laboratories, one of which sees them as they are: no tile is in two of them.
    Each laboratory sees one class four times as often as the others, another one each, so that the
    stain foretells the class: 16 and 4 bags in training, half as many in validation. In test there are 20 of each
    class and laboratory, and 60 of each class of B and C, which no laboratory's stain is like.

    Parameters
    ----------
    left_out : str
        A laboratory that gives no bags to training and validation.
    """
    classes = tiles_of(data, "A")[1]
    part = _parts(classes, seed)
    home = np.random.default_rng([seed, 8]).permutation(len(classes)) % len(LABORATORIES)
    found: dict[str, BagSet] = {}
    taught: dict[str, list[BagSet]] = {"training": [], "validation": []}
    for number, site in enumerate(LABORATORIES):
        rows, _ = _features(data, features, site, encoder)
        seen = [MOST if label == number else FEW for label in range(len(CLASSES) - 1)]
        wanted = (seen, [count // 2 for count in seen], [TEST // 3] * len(seen))
        for which, (name, counts) in enumerate(zip((*taught, site), wanted, strict=True)):
            here = (part == which) & (home == number)
            rng = np.random.default_rng([seed, 20 + number, which])
            bags = _draw(rows[here], classes[here], counts, rng)
            if name == site:
                found[site] = bags
            elif site != left_out:
                taught[name].append(bags)
    for number, site in enumerate(SITES[1:]):
        there = _features(data, features, site, encoder)
        rng = np.random.default_rng([seed, 30 + number])
        found[site] = _draw(*there, [TEST] * (len(CLASSES) - 1), rng)
    return found | {name: BagSet.of_sites(bags) for name, bags in taught.items()}


@lru_cache
def _features(data: Path, features: Path, site: str, encoder: str) -> tuple[np.ndarray, np.ndarray]:
    found = features_of(data, site, features)
    parts = [found[name] for name in encoder.split("+")]
    return np.concatenate(parts, axis=1).astype(np.float32), tiles_of(data, site)[1]


def _parts(classes: np.ndarray, seed: int) -> np.ndarray:
    rng = np.random.default_rng([seed, 7])
    part = np.full(len(classes), 2)
    for number in range(len(CLASSES)):
        members = rng.permutation(np.flatnonzero(classes == number))
        train, validate = (round(share * len(members)) for share in _PARTS)
        part[members[:train]], part[members[train:validate]] = 0, 1
    return part


def _draw(
    rows: np.ndarray, classes: np.ndarray, counts: list[int], rng: np.random.Generator
) -> BagSet:
    normal = np.flatnonzero(classes == 0)
    bags, labels = [], []
    for label, count in enumerate(counts):
        lesion = np.flatnonzero(classes == label + 1)
        for _ in range(count):
            chosen = [
                rng.choice(lesion, LESION_TILES, replace=False),
                rng.choice(normal, TILES - LESION_TILES, replace=False),
            ]
            bags.append(rows[np.concatenate(chosen)])
            labels.append(label)
    return BagSet(bags, np.array(labels))

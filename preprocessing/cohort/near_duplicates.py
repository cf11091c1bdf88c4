"""Find pictures that show the same, whatever their compression or size."""

from collections import defaultdict
from dataclasses import dataclass

import cv2
import numpy as np

HASH_SIDE = 16
_BANDS = 16  # of 16 bits; two hashes less than 16 bits apart share at least one
_LARGEST_BUCKET = 2000
_THUMBNAIL = 48


@dataclass(frozen=True)
class Signature:
    """A difference hash (32 bytes) and a normalised grey thumbnail (float16, 48 x 48)."""

    bits: bytes
    thumbnail: np.ndarray


def signature(pixels: np.ndarray) -> Signature:
    """Return the signature of a picture (uint8, H x W x 3, RGB).

    The hash says for 16 x 16 places whether the grey falls to the right (Krawetz's dHash, at 256
    bits, since photographs of retinas are alike). The thumbnail has mean 0 and norm 1, so that the
    product of two is their correlation.
    """
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (HASH_SIDE + 1, HASH_SIDE), interpolation=cv2.INTER_AREA).astype(int)
    bits = np.packbits(small[:, 1:] > small[:, :-1]).tobytes()
    thumbnail = cv2.resize(grey, (_THUMBNAIL, _THUMBNAIL), interpolation=cv2.INTER_AREA)
    # The local mean goes: the bright disc on black, alike in all photographs, would decide.
    wide = thumbnail.astype(np.float32)
    wide = wide - cv2.GaussianBlur(wide, (0, 0), 4)
    wide -= wide.mean()
    return Signature(bits, (wide / (np.linalg.norm(wide) + 1e-6)).astype(np.float16))


def near_pairs(
    signatures: list[Signature | None], *, most_bits: int = 15, least_correlation: float = 0.98
) -> list[tuple[int, int]]:
    """Return pairs (i < j) whose hashes differ in few bits and whose thumbnails correlate.

    Candidates share one of 16 bands of the hash, so that the work grows with the number of pictures
    and not with its square.

    Parameters
    ----------
    signatures : list
        None for pictures that could not be read.
    most_bits : int
        Below 16 no pair is missed.
    least_correlation : float
        Of the thumbnails without their local mean. Two photographs of one eye stored twice reach
        0.98 and more; the closest of different eyes, of one camera, about 0.97.
    """
    candidates: set[tuple[int, int]] = set()
    for band in range(_BANDS):
        buckets: dict[bytes, list[int]] = defaultdict(list)
        for index, one in enumerate(signatures):
            if one is not None:
                buckets[one.bits[2 * band : 2 * band + 2]].append(index)
        for bucket in buckets.values():
            # A band that thousands share (all black, say) tells nothing.
            if 1 < len(bucket) <= _LARGEST_BUCKET:
                candidates |= _close(bucket, signatures, most_bits)
    pairs = []
    for first, second in sorted(candidates):
        one, two = signatures[first], signatures[second]
        assert one is not None
        assert two is not None
        if float(np.vdot(one.thumbnail.astype(np.float32), two.thumbnail.astype(np.float32))) >= (
            least_correlation
        ):
            pairs.append((first, second))
    return pairs


def _close(
    bucket: list[int], signatures: list[Signature | None], most_bits: int
) -> set[tuple[int, int]]:
    hashes = np.stack([np.frombuffer(signatures[i].bits, np.uint8) for i in bucket])  # type: ignore[union-attr]
    pairs = set()
    for first in range(len(bucket) - 1):
        apart = np.bitwise_count(hashes[first] ^ hashes[first + 1 :]).sum(axis=1)
        for other in np.flatnonzero(apart <= most_bits):
            pairs.add((bucket[first], bucket[first + 1 + int(other)]))
    return pairs


def joined_groups(pairs: list[tuple[int, int]]) -> list[list[int]]:
    """Return the groups that pairs join, each sorted, in order of their first member.

    Examples
    --------
    >>> joined_groups([(0, 1), (1, 4), (2, 3)])
    [[0, 1, 4], [2, 3]]
    """
    parent: dict[int, int] = {}

    def root(item: int) -> int:
        parent.setdefault(item, item)
        while parent[item] != item:
            parent[item] = parent[parent[item]]
            item = parent[item]
        return item

    for first, second in pairs:
        one, two = root(first), root(second)
        parent[max(one, two)] = min(one, two)
    groups: dict[int, list[int]] = defaultdict(list)
    for item in sorted(parent):
        groups[root(item)].append(item)
    return list(groups.values())

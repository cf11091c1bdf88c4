"""What frozen first stages see of a job's photographs: read once for each copy, for all its runs.

Blocks of maps lie below the prepared photographs, each written whole. A map is known by the digest
of its prepared picture, the augmentation and the number of the copy, so runs of other methods, seeds
and divisions find what they need, and a killed reading goes on.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import h5py
import numpy as np
import torch
from torch import Tensor

from offsite.files import digest_of, in_the_way, replacing
from offsite.preprocessing.augment import fundus
from offsite.preprocessing.augment.fundus import Augmentation, fundus_augmentation
from offsite.retina.photographs.batches import normalised
from offsite.retina.photographs.of_run import RunPhotographs
from offsite.training.randomness import seed_of
from offsite.training.trunk.reading import pictures_at_once

VERSION = 1
"""Goes up when the same picture would be read otherwise."""
AS_IT_IS: Augmentation = "none"
_BLOCK = 1024  # maps of a file

Key = tuple[str, str, int]
"""Digest of the prepared picture, augmentation, number of the copy."""


class KeptMaps:
    """Maps (K x h x w) of photographs, in blocks on the disk.

    Parameters
    ----------
    photographs : RunPhotographs
        Where pictures come from.
    prepared : path
        The folder of the prepared photographs; the blocks go below ``maps/``.
    front : callable
        ``front(B x 3 x H x W normalised) -> B x K x h x w``.
    front_digest : str
        Of all that ``front`` depends on, and of ``kind``.
    kind : torch.dtype
        As which they are kept.
    """

    def __init__(
        self,
        photographs: RunPhotographs,
        prepared: str | Path,
        front: Callable[[Tensor], Tensor],
        front_digest: str,
        kind: torch.dtype = torch.float16,
    ) -> None:
        self._photographs, self._front, self._kind = photographs, front, kind
        versions = [VERSION, fundus.VERSION, front_digest, photographs.prepared.digest()]
        self._facts = digest_of(versions)
        self.folder = Path(prepared) / "maps" / self._facts[:16]
        self._blocks: list[np.ndarray] = []
        self._places: dict[Key, tuple[int, int]] = {}
        self._opened: set[Path] = set()

    def read(self, rows: np.ndarray, augmentation: Augmentation, copies: int) -> None:
        """Make what is missing of each of the copies (0 to ``copies`` - 1) of some photographs."""
        self._open_blocks()
        digests = self._photographs.store.digests
        wanted: list[tuple[int, Key]] = [
            (int(row), (digests[row], augmentation, copy)) for copy in range(copies) for row in rows
        ]
        missing = [(row, key) for row, key in wanted if key not in self._places]
        for start in range(0, len(missing), _BLOCK):
            block = missing[start : start + _BLOCK]
            self._write([key for _, key in block], self._maps(block, augmentation))
        self._open_blocks()

    def maps(self, rows: np.ndarray, augmentation: Augmentation, copies: Sequence[int]) -> Tensor:
        """Return n x K x h x w (float32, channels last in memory) of a copy of each of n rows."""
        digests = self._photographs.store.digests
        places = [
            self._places[digests[row], augmentation, copy]
            for row, copy in zip(rows.tolist(), copies, strict=True)
        ]
        kept = np.stack([self._blocks[block][place] for block, place in places])
        return torch.from_numpy(kept).float().permute(0, 3, 1, 2)

    def _maps(self, wanted: list[tuple[int, Key]], augmentation: Augmentation) -> np.ndarray:
        """N x h x w x K."""
        augment = fundus_augmentation(augmentation, fill=self._photographs.prepared.fill)
        step, parts = pictures_at_once(self._photographs.prepared.px), []
        for start in range(0, len(wanted), step):
            part = wanted[start : start + step]
            pictures = self._photographs.store.pixels(np.array([row for row, _ in part]))
            seen = [
                augment(picture, seed_of(copy, int(digest[:15], 16)))
                for picture, (_, (digest, _, copy)) in zip(pictures, part, strict=True)
            ]
            parts.append(self._front(normalised(np.stack(seen))).permute(0, 2, 3, 1).to(self._kind))
        return torch.cat(parts).numpy()

    def _write(self, keys: list[Key], maps: np.ndarray) -> None:
        file_name = self.folder / f"{digest_of(keys)[:24]}.h5"
        if file_name.exists() and not _is_ours(file_name):
            raise in_the_way(file_name)
        with replacing(file_name) as temporary, h5py.File(temporary, "w", locking=False) as file:
            file.attrs["facts"] = self._facts
            for name, values in zip(
                ("picture", "augmentation"), zip(*keys, strict=True), strict=False
            ):
                file[name] = list(values)
            file["copy"] = np.array([copy for _, _, copy in keys], np.int64)
            file["maps"] = maps

    def _open_blocks(self) -> None:
        for file in sorted(self.folder.glob("*.h5")):
            if file in self._opened:
                continue
            with suppress(OSError, KeyError, ValueError, TypeError):  # a damaged one is made anew
                keys, maps = _opened(file, self._facts)
                self._opened.add(file)
                number = len(self._blocks)
                self._blocks.append(maps)
                self._places |= {key: (number, place) for place, key in enumerate(keys)}


def _opened(path: Path, facts: str) -> tuple[list[Key], np.ndarray]:
    """The keys of a block and its maps, which stay on the disk until they are looked at."""
    with h5py.File(path, "r", locking=False) as file:
        maps = file["maps"]
        pictures, copies = file["picture"].asstr()[:], file["copy"][:]
        keys = list(zip(pictures, file["augmentation"].asstr()[:], map(int, copies), strict=True))
        if file.attrs["facts"] != facts or len(keys) != len(maps):
            raise ValueError("not a block of these maps")
        at, shape, kind = maps.id.get_offset(), maps.shape, maps.dtype
    return keys, np.memmap(path, kind, "r", at, shape)


def _is_ours(path: Path) -> bool:
    try:
        with h5py.File(path, "r", locking=False) as file:
            return "facts" in file.attrs
    except OSError:  # what cannot be opened any more is a damaged one of ours
        return True

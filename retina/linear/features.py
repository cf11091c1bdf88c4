"""What the frozen trunk read of a job's photographs: one HDF5 file, made once, for all its runs.

It holds every statistic of every stage, whatever a run reads: a run of fewer stages takes its columns
of the same file. Rows are known by the digest of the prepared picture and the number of the altered copy, so a run
that leaves another site out, or a cohort that grew, reads what is missing and nothing else.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import h5py
import numpy as np
import torch

from offsite.files import digest_of, in_the_way, replacing
from offsite.preprocessing.augment import altered
from offsite.retina.photographs.batches import normalised, pixels_of
from offsite.retina.photographs.of_run import RunPhotographs
from offsite.training.trunk.reading import TrunkReader, pictures_at_once, statistics_of
from offsite.training.trunk.settings import TrunkReadingSettings

VERSION = 1
"""Goes up when the same picture would be read otherwise."""

SIGNATURE = b"\x89HDF\r\n\x1a\n"
"""How every HDF5 file begins."""

BLOCK = 256  # the fewest pictures that are kept at a time

Wanted = Sequence[tuple[int, int]]


class TrunkFeatures:
    """The file of trunk features beside a job's prepared photographs.

    Parameters
    ----------
    prepared : path
        The folder of the prepared photographs; the file goes below ``trunk/``.
    reader : TrunkReader
        Its trunk's digest and the region that is read name the file.
    trunk_digest : str
        Of the trunk's weights.
    """

    def __init__(self, prepared: str | Path, reader: TrunkReader, trunk_digest: str) -> None:
        self._reader = reader
        reading = reader.settings
        self._whole = TrunkReadingSettings(region=reading.region)
        self._columns = reading.columns_in(self._whole)
        self.facts = {
            "version": VERSION,
            "altered": altered.VERSION,
            "trunk": trunk_digest,
            "reading": self._whole.model_dump(mode="json"),
        }
        self.file = Path(prepared) / "trunk" / f"{digest_of(self.facts)[:16]}.h5"

    def rows(
        self,
        photographs: RunPhotographs,
        wanted: Wanted,
        progress: Callable[[int, int], None] | None = None,
    ) -> np.ndarray:
        """Return M x D (float32): the features of (row of the photographs, copy), in that order.

        What the file lacks is read and added to it; a killed call loses what it read since.
        """
        digests = photographs.store.digests
        keys = [(digests[row], copy) for row, copy in wanted]
        known = self._known()
        missing = [index for index, key in enumerate(keys) if key not in known]
        done = 0
        while done < len(missing):
            # The file is written anew each time, so the blocks grow with it.
            block = missing[done : done + max(BLOCK, len(known) // 4)]
            rows_of_features = self._read(photographs, [wanted[index] for index in block])
            self._add([keys[index] for index in block], rows_of_features, known)
            done += len(block)
            if progress is not None:
                progress(done, len(missing))
        if not keys:
            return np.empty((0, len(self._columns)), np.float32)
        with h5py.File(self.file, "r", locking=False) as file:
            held = file["features"][:]
        places = [known[key] for key in keys]
        return np.asarray(held[np.ix_(places, self._columns)])

    def _known(self) -> dict[tuple[str, int], int]:
        """The place in the file of each picture and copy; a damaged file is made anew."""
        try:
            with h5py.File(self.file, "r", locking=False) as file:
                names, copies = file["picture"].asstr()[:], file["copy"][:]
                whole = file["features"].shape == (len(names), self._whole.dimensions)
                if not whole or len(copies) != len(names):
                    return {}
        except (OSError, KeyError, TypeError):
            return {}
        return {
            (name, int(copy)): index
            for index, (name, copy) in enumerate(zip(names, copies, strict=True))
        }

    def _refuse_foreign(self) -> None:
        try:
            with h5py.File(self.file, "r", locking=False) as file:
                foreign = "facts" not in file.attrs
        except OSError:  # there is none, or what began as one and cannot be opened is a damaged one
            foreign = self.file.is_file() and self.file.read_bytes()[:8] not in (b"", SIGNATURE)
        if foreign:
            raise in_the_way(self.file)

    @torch.inference_mode()
    def _read(self, photographs: RunPhotographs, wanted: Wanted) -> np.ndarray:
        rows_of_features = []
        step = pictures_at_once(photographs.prepared.px)
        for start in range(0, len(wanted), step):
            part = wanted[start : start + step]
            pictures = photographs.store.pixels(np.array([row for row, _ in part]))
            digests = [photographs.store.digests[row] for row, _ in part]
            copies = [
                altered.altered(picture, copy, int(digest[:15], 16))
                for picture, (_, copy), digest in zip(pictures, part, digests, strict=True)
            ]
            # Through the network's own input, so that a photograph is the same on every way.
            maps = self._reader.maps(pixels_of(normalised(np.stack(copies))))
            rows_of_features.append(statistics_of(maps, self._whole).numpy())
        return np.concatenate(rows_of_features)

    def _add(
        self,
        keys: list[tuple[str, int]],
        rows_of_features: np.ndarray,
        known: dict[tuple[str, int], int],
    ) -> None:
        """Write the file with further rows; it is the old one or the new one, never a part."""
        names, copies, features = [], np.empty(0, np.int64), np.empty((0, self._whole.dimensions))
        if known:
            with h5py.File(self.file, "r", locking=False) as file:
                names, copies = list(file["picture"].asstr()[:]), file["copy"][:]
                features = file["features"][:]
        self._refuse_foreign()
        with replacing(self.file) as temporary, h5py.File(temporary, "w", locking=False) as file:
            file.attrs["facts"] = digest_of(self.facts)
            file["picture"] = [*names, *(name for name, _ in keys)]
            file["copy"] = np.concatenate([copies, [copy for _, copy in keys]]).astype(np.int64)
            file["features"] = np.concatenate([features, rows_of_features]).astype(np.float32)
        known |= {key: len(names) + index for index, key in enumerate(keys)}

"""The features of a slide, made once even where several answers rest on them."""

import tempfile
import threading
from collections import OrderedDict
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

from offsite.children.pool import HERE, Place
from offsite.pathology.features.embedding import encode_slide
from offsite.pathology.features.file import SlideFeatures, as_kept
from offsite.pathology.tile_encoders.contract import TileEncoder
from offsite.preprocessing.tiles.table import SlideRecord, TileSettings, load_tiles
from offsite.preprocessing.tiles.tiling import tile_slide
from offsite.training.prediction.codes import Code
from offsite.training.prediction.contract import Rejected

# Slides of one patient are predicted one after the other: more need not be remembered.
KEPT = 8
_CODES = {
    "no_such_file": Code.NOT_FOUND,
    "permission_denied": Code.PERMISSION_DENIED,
    "read_failed": Code.READ_FAILED,
    "changed_while_read": Code.READ_FAILED,
    "cannot_open": Code.UNREADABLE,
    "unreadable_slide": Code.UNREADABLE,
    "unsupported_format": Code.UNREADABLE,
    "wrong_kind": Code.WRONG_KIND,
    "not_an_image": Code.NOT_AN_IMAGE,
    "too_many_unreadable_tiles": Code.UNREADABLE,
    "mpp_missing": Code.MPP_MISSING,
    "mpp_implausible": Code.MPP_IMPLAUSIBLE,
    "mpp_anisotropic": Code.MPP_IMPLAUSIBLE,
    "resolution_too_low": Code.RESOLUTION_TOO_LOW,
    "no_tissue": Code.NO_TISSUE,
    "smaller_than_a_tile": Code.NO_TISSUE,
}


@dataclass(frozen=True)
class TiledSlide:
    """What became of the tiles of a slide, and their features."""

    record: SlideRecord
    features: SlideFeatures


class SlideFeatureMaker:
    """Tiles and encodes slides as training does; remembers the last few. Safe in threads.

    Parameters
    ----------
    bits : int
        Of a number in the files that the model was trained on, 16 or 8: it gets what they would hold.
    """

    def __init__(self, tiles: TileSettings, encoder: TileEncoder, bits: int = 16) -> None:
        self._tiles = tiles
        self._bits = bits
        self.encoder = encoder
        self.place: Place = HERE
        self._made: OrderedDict[Path, Future[TiledSlide]] = OrderedDict()
        self._lock = threading.Lock()

    def make(self, path: Path, mpp: float | None = None) -> TiledSlide:
        """Return tiles and features of a slide, kept nowhere.

        Raises
        ------
        Rejected, ChildEnded
            Why there are none.
        """
        with tempfile.TemporaryDirectory(prefix="offsite-tiles-") as work:
            record = self.place.call(tile_slide, path, "slide", work, self._tiles, mpp)
            if record.status != "done" or not record.kept:
                raise rejected(record)
            tiles = load_tiles(work, "slide")
        features = encode_slide(path, tiles, self.encoder, place=self.place)
        if not len(features.features):
            raise Rejected(Code.UNREADABLE, "no tile of the slide can be decoded")
        return TiledSlide(record, as_kept(features, self._bits))

    def remembered(self, path: Path, mpp: float | None = None) -> TiledSlide:
        """Like `make`, but once for all who ask; the others wait."""
        with self._lock:
            future = self._made.get(path)
            mine = future is None
            if future is None:
                future = self._made[path] = Future()
                while len(self._made) > KEPT:
                    self._made.popitem(last=False)
        if mine:
            try:
                future.set_result(self.make(path, mpp))
            except BaseException as error:
                future.set_exception(error)
        return future.result()


def rejected(record: SlideRecord) -> Rejected:
    """Return why a slide has no tiles, in the words of a result."""
    code = _CODES.get(record.code, Code.INTERNAL_ERROR)
    if record.status in ("no_tissue", "done"):
        code = Code.NO_TISSUE
    message = record.message or "no tile is fit to be used"
    return Rejected(code, message.split(". ")[0])

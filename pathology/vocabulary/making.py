"""The words of a run: found among its training slides, and told of every slide."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd

from offsite.children.pool import Place
from offsite.errors import InputError
from offsite.files import read_json
from offsite.pathology.inference import load_slide_model, predict_bag
from offsite.pathology.slides_of_run import SlidesOfRun, select_slides
from offsite.pathology.stages import features_of
from offsite.pathology.tile_encoders.contract import TileEncoder
from offsite.pathology.tile_encoders.registry import load_encoder
from offsite.pathology.vocabulary.answers import falls, kept_share
from offsite.pathology.vocabulary.views import scatter_of_views
from offsite.pathology.vocabulary.words import Vocabulary, fit_vocabulary
from offsite.preprocessing.cohort.table import Cohort
from offsite.preprocessing.tiles.reading import read_tiles
from offsite.preprocessing.tiles.table import SlideTiles, load_tiles
from offsite.training.encoders import LOOKED_AT, TissueWords
from offsite.training.modality import ImageJob

MOST_TILES, TILES_OF_A_SLIDE = 40_000, 12
EXAMPLES, OF_ONE_SLIDE = 9, 2
_SIDE, _GAP = 96, 4


def tissue_words(
    job: ImageJob,
    divided: Cohort,
    run: Path,
    words: int,
    least: float,
    place: Place,
    advance: Callable[..., None],
) -> TissueWords:
    """Find the words of a run's training tiles, and tell every slide in them.

    Raises
    ------
    InputError
        Code ``other_encoder`` (the features are not of the job's encoder), ``no_tiles``, or
        ``words_explain_little``: with words in the place of tiles less than ``least`` of the log-odds of
        the slides that are not trained on is kept.
    """
    configuration = job.configuration
    if configuration.features.folder is not None:
        raise InputError(
            "the job has features and no slides: words are told under other stains of the slides' tiles",
            file=job.file,
            remedy="Ask it of a job that tiles and encodes its slides",
            code="no_tiles",
        )
    slides = select_slides(
        divided,
        features_of(job),
        configuration.training.pooling,
        configuration.training.resident_gib,
    )
    encoder = _encoder(job, slides)
    images = dict(zip(job.cohort.table["slide"], job.cohort.image_paths(), strict=True))
    training = [number for bag in slides.training_bags() for number in slides.bags.slides[bag]]
    shown = [training[i] for i in np.unique(np.linspace(0, len(training) - 1, LOOKED_AT).round().astype(int))]  # fmt: skip
    within, seen = scatter_of_views(_tiles_of(job, slides, shown, images, place, advance), encoder)
    if not seen:
        raise InputError(
            "no tile of the training slides could be read",
            file=job.file,
            remedy="Put the slides where the cohort names them, and tile them again",
            code="no_tiles",
        )
    of_slide, of_row = _sampled(slides, training)
    found = fit_vocabulary(_features(slides, of_slide, of_row), within, words)
    # As it is kept, so that whoever reads it tells the same words.
    vocabulary = Vocabulary.from_arrays(found.arrays(), slides.store.dimensions)
    facts = read_json(run / "run.json")["facts"]
    model = load_slide_model(run / "weights.safetensors", facts["architecture"])

    def logits(rows: np.ndarray) -> np.ndarray:
        return predict_bag(model, rows).logits

    bags = [_bag(slides, number) for number in range(len(slides.bags.names))]
    judged = np.flatnonzero((slides.splits != "train") | (slides.roles != "training"))
    kept = kept_share(logits, [bags[number] for number in judged], vocabulary.replaced)
    if len(judged) < 2 or kept < least:
        raise InputError(
            f"with {len(vocabulary)} words in the place of tiles {max(kept, 0):.0%} of the answers' log-odds"
            f" is kept at {len(judged)} slides that were not trained on: words do not explain this model",
            file=run,
            remedy="Ask for more words (--words), or for those of another run",
            code="words_explain_little",
        )
    examples = _examples(vocabulary, slides, of_slide, of_row)
    return TissueWords(
        kept=kept,
        judged=len(judged),
        arrays=vocabulary.arrays(),
        tables={
            "words": _told(slides, bags, vocabulary, logits, divided.classes),
            "examples": examples,
        },
        sheet=_sheet(job, examples, len(vocabulary), images, place),
    )


def _encoder(job: ImageJob, slides: SlidesOfRun) -> TileEncoder:
    encoder = load_encoder(job.configuration.encoder)
    if encoder.digest != slides.store.encoder_digest:
        raise InputError(
            f"the run's features are not of encoder {encoder.name} as the job has it now",
            file=job.file,
            remedy="Name the encoder and the weights that made them: words are told under other stains",
            code="other_encoder",
        )
    return encoder


def _tiles_of(
    job: ImageJob,
    slides: SlidesOfRun,
    numbers: list[int],
    images: dict[str, Path],
    place: Place,
    advance: Callable[..., None],
) -> Iterator[np.ndarray]:
    """Pixels of some tiles of each of some slides; one that cannot be read is passed over."""
    for number in numbers:
        name = slides.store.slides[number]
        try:
            tiles = load_tiles(job.output, name)
            count = tiles.record.kept
            rows = np.unique(np.linspace(0, count - 1, TILES_OF_A_SLIDE).round().astype(int))
            for batch in _read(images[name], tiles, rows if count else rows[:0], place):
                if len(batch[1]):
                    yield batch[1]
        except InputError:
            continue
        finally:
            advance()


def _read(
    image: Path, tiles: SlideTiles, rows: np.ndarray, place: Place
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Corners and pixels of some of a slide's kept tiles."""
    some = SlideTiles(tiles.kept().iloc[rows].reset_index(drop=True), tiles.record)
    for batch in place.stream(read_tiles, image, some, batch_size=64):
        yield batch.coords, batch.pixels


def _sampled(slides: SlidesOfRun, training: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Slide and row of at most `MOST_TILES` tiles, as many of each training slide."""
    each = max(1, MOST_TILES // len(training))
    of_slide, of_row = [], []
    for number in training:
        count = int(slides.store.counts[number])
        rows = np.unique(np.linspace(0, count - 1, min(count, each)).round().astype(int))
        of_slide.append(np.full(len(rows), number))
        of_row.append(rows)
    return np.concatenate(of_slide), np.concatenate(of_row)


def _features(slides: SlidesOfRun, of_slide: np.ndarray, of_row: np.ndarray) -> np.ndarray:
    parts = [
        slides.store.rows(int(number), of_row[of_slide == number]) for number in np.unique(of_slide)
    ]
    return np.concatenate(parts).astype(np.float64)


def _bag(slides: SlidesOfRun, number: int) -> np.ndarray:
    return np.concatenate([slides.store.rows(slide) for slide in slides.bags.slides[number]])


def _told(
    slides: SlidesOfRun,
    bags: list[np.ndarray],
    vocabulary: Vocabulary,
    logits: Callable[[np.ndarray], np.ndarray],
    classes: tuple[str, ...],
) -> pd.DataFrame:
    """A row for each slide, of its bag: the share of each word, and the fall of the log-odds without."""
    of_bag = []
    for tiles in bags:
        words = vocabulary.of(tiles)
        shares = np.bincount(words, minlength=len(vocabulary)) / len(words)
        fall = falls(logits, tiles, words, len(vocabulary))
        row: dict[str, Any] = {
            "tiles": len(tiles),
            "called": classes[int(logits(tiles).argmax())],
        }
        row |= {f"share_{word + 1:02d}": shares[word] for word in range(len(vocabulary))}
        row |= {f"fall_{word + 1:02d}": fall[word] for word in range(len(vocabulary))}
        of_bag.append(row)
    named = slides.table[["image", "slide", "patient", "site", "split"]].astype(str)
    told = pd.DataFrame(of_bag).iloc[slides.table["bag"].to_numpy()]
    return pd.concat([named.reset_index(drop=True), told.reset_index(drop=True)], axis=1)


def _examples(
    vocabulary: Vocabulary, slides: SlidesOfRun, of_slide: np.ndarray, of_row: np.ndarray
) -> pd.DataFrame:
    """The tiles nearest to each word, at most two of a slide while others are there."""
    distances = vocabulary.distances(_features(slides, of_slide, of_row))
    words, rows = distances.argmin(axis=1), []
    for word in range(len(vocabulary)):
        mine = np.flatnonzero(words == word)
        mine = mine[np.argsort(distances[mine, word], kind="stable")]
        taken = pd.Series(of_slide[mine]).groupby(of_slide[mine]).cumcount().to_numpy()
        order = np.argsort(taken // OF_ONE_SLIDE, kind="stable")[:EXAMPLES]
        for place, index in enumerate(mine[order]):
            number = int(of_slide[index])
            x, y = slides.store.slide_coords(number)[of_row[index]].tolist()
            slide = slides.store.slides[number]
            rows.append({"word": word + 1, "place": place + 1, "slide": slide, "x": x, "y": y})
    return pd.DataFrame(rows)


def _sheet(
    job: ImageJob, examples: pd.DataFrame, words: int, images: dict[str, Path], place: Place
) -> np.ndarray:
    """A row of example tiles for each word, its number before them (uint8 RGB)."""
    step = _SIDE + _GAP
    sheet = np.full((words * step + _GAP, (EXAMPLES + 1) * step + _GAP, 3), 255, np.uint8)
    for word in range(words):
        corner = (2 * _GAP, word * step + _GAP + _SIDE // 2 + 8)
        cv2.putText(sheet, f"{word + 1:02d}", corner, cv2.FONT_HERSHEY_SIMPLEX, 1.0, (0, 0, 0), 2)
    for slide, wanted in examples.groupby("slide"):
        tiles = load_tiles(job.output, str(slide))
        kept = tiles.kept_places()
        row_of = {tuple(corner): row for row, corner in enumerate(kept.tolist())}
        corners_of = wanted[["x", "y"]].to_numpy().tolist()
        places = wanted[["word", "place"]].to_numpy().tolist()
        asked = {tuple(corner): at for corner, at in zip(corners_of, places, strict=True)}
        rows = np.array(sorted(row_of[corner] for corner in asked if corner in row_of), dtype=int)
        for corners, pixels in _read(images[str(slide)], tiles, rows, place):
            for corner, tile in zip(corners.tolist(), pixels, strict=True):
                word, place_of = asked[tuple(corner)]
                top, left = (word - 1) * step + _GAP, place_of * step + _GAP
                small = cv2.resize(tile, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
                sheet[top : top + _SIDE, left : left + _SIDE] = small
    return sheet

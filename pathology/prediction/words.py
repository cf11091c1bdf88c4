"""A slide that was answered, in the tissue words of its model."""

from collections.abc import Callable, Sequence

import numpy as np

from offsite.pathology.vocabulary.answers import falls
from offsite.pathology.vocabulary.words import Vocabulary
from offsite.training.prediction.contract import AnswerInWords


def answer_in_words(
    vocabulary: Vocabulary,
    slides: Sequence[np.ndarray],
    logits: Callable[[Sequence[np.ndarray]], np.ndarray],
) -> AnswerInWords:
    """Return the words of a slide's tiles, and how much the answer rests on each.

    Parameters
    ----------
    slides : sequence of numpy.ndarray
        N x D each: the tiles of the slide, and of the patient's others where the answer is of all.
    logits : callable
        From the tiles of such slides to the logits (C) of the answer. A word is taken out of all of
        them; a slide of which no tile is left is not among them.
    """
    words = [vocabulary.of(rows) for rows in slides]
    shares = np.bincount(words[0], minlength=len(vocabulary)) / len(words[0])
    of_slide = np.repeat(np.arange(len(slides)), [len(each) for each in words])
    place = np.concatenate([np.arange(len(each)) for each in words])

    def of_some(kept: np.ndarray) -> np.ndarray:
        parts = (rows[place[kept[of_slide[kept] == slide]]] for slide, rows in enumerate(slides))
        return logits([part for part in parts if len(part)])

    fall = falls(of_some, np.arange(len(place)), np.concatenate(words), len(vocabulary))
    return AnswerInWords(shares, fall)

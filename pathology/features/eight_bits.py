"""Features in eight bits: a step and a start for each dimension of a slide, and whole numbers."""

from dataclasses import dataclass

import numpy as np

_LEVELS = 255


@dataclass(frozen=True, kw_only=True)
class EightBits:
    """Features of a slide as layout 2 of the file keeps them.

    Attributes
    ----------
    levels : numpy.ndarray
        N x D, int8, from -128.
    step, start : numpy.ndarray
        D each, float32: a feature is ``start + step * (level + 128)``, rounded to float16. Of a
        dimension that does not vary the step is 0.
    """

    levels: np.ndarray
    step: np.ndarray
    start: np.ndarray

    @classmethod
    def of(cls, features: np.ndarray) -> "EightBits":
        """Keep N x D float16; the error of a feature is at most half a step, 1/510 of its range.

        Examples
        --------
        >>> features = np.array([[0.0, 7.0], [1.0, 7.0], [2.55, 7.0]], np.float16)
        >>> kept = EightBits.of(features)
        >>> kept.levels.tolist()
        [[-128, -128], [-28, -128], [127, -128]]
        >>> np.allclose(kept.features(), features, atol=0.005)
        True
        """
        wide = features.astype(np.float32)
        if not len(wide):
            none = np.zeros(features.shape[1], np.float32)
            return cls(levels=np.empty(features.shape, np.int8), step=none, start=none)
        start = wide.min(axis=0)
        step = (wide.max(axis=0) - start) / np.float32(_LEVELS)
        levels = np.rint((wide - start) / np.where(step > 0, step, np.float32(1)))
        return cls(
            levels=(levels.clip(0, _LEVELS) - 128).astype(np.int8),
            step=step.astype(np.float32),
            start=start,
        )

    def features(self) -> np.ndarray:
        """Return N x D, float16; the same on any machine: a product and a sum in float32."""
        wide = self.levels.astype(np.float32)
        wide += np.float32(128)
        wide *= self.step
        wide += self.start
        return wide.astype(np.float16)

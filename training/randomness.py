"""Random numbers that are a pure function of a seed and of where in the run they are drawn."""

import numpy as np


def seed_of(seed: int, *keys: int) -> int:
    """Return a 63-bit seed for one point of a run, such as (epoch, step, rank).

    Parameters
    ----------
    seed : int
        The run's seed, >= 0.
    *keys : int
        Non-negative numbers that name the point; another number or order gives another seed.

    Examples
    --------
    >>> seed_of(0, 1) == seed_of(0, 1), seed_of(0, 1) == seed_of(1, 0)
    (True, False)
    """
    state = np.random.SeedSequence(seed, spawn_key=keys).generate_state(1, np.uint64)
    return int(state[0] >> np.uint64(1))


def generator(seed: int, *keys: int) -> np.random.Generator:
    """Return a NumPy generator for one point of a run; see `seed_of`.

    Examples
    --------
    >>> generator(0, 3).permutation(4).tolist() == generator(0, 3).permutation(4).tolist()
    True
    """
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=keys))

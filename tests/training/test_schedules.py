import math

import pytest

from offsite.training.schedules import scheduled, warmed_up

FALLING = ["linear", "parabolic", "cosine", "step"]


@pytest.mark.parametrize("name", FALLING)
@pytest.mark.parametrize("floor", [0.0, 0.3])
def test_falls_from_one_to_the_floor_and_is_clamped(name, floor):
    assert scheduled(name, 0.0, floor=floor) == 1.0
    assert scheduled(name, -3.0, floor=floor) == 1.0
    assert scheduled(name, 1.0, floor=floor) == pytest.approx(floor, abs=1e-15)
    assert scheduled(name, 7.0, floor=floor) == pytest.approx(floor, abs=1e-15)
    values = [scheduled(name, t / 50, floor=floor) for t in range(51)]
    assert values == sorted(values, reverse=True)


def test_values_between_the_ends():
    assert scheduled("linear", 0.3) == pytest.approx(0.7)
    assert scheduled("parabolic", 0.3) == pytest.approx(0.91)
    assert scheduled("cosine", 0.25) == pytest.approx(0.5 * (1 + math.sqrt(0.5)))
    assert scheduled("step", 0.399, step_at=0.4) == 1.0
    assert scheduled("step", 0.4, step_at=0.4) == 0.0
    assert scheduled("linear", 0.5, floor=0.2) == pytest.approx(0.6)
    assert [scheduled("constant", t) for t in (0, 0.5, 1)] == [1.0, 1.0, 1.0]


def test_unknown_schedule_is_refused():
    with pytest.raises(ValueError, match="no schedule"):
        scheduled("sine", 0.1)


def test_warm_up_rises_linearly_and_never_gives_nothing():
    assert warmed_up(0.0, 0.2) == 0.01
    assert warmed_up(0.1, 0.2) == pytest.approx(0.5)
    assert warmed_up(0.2, 0.2) == warmed_up(0.9, 0.2) == warmed_up(0.0, 0.0) == 1.0

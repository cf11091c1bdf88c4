"""What is read of the trunk's maps are the numbers that it says."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from offsite.training.trunk.reading import (
    TrunkReader,
    as_pixels,
    statistic_maps,
    statistics_of,
)
from offsite.training.trunk.settings import STAGE_CHANNELS, TrunkReadingSettings


def maps():
    generator = torch.Generator().manual_seed(0)
    sides = (16, 16, 8, 4, 2, 2, 1, 1)
    return [
        torch.randn(3, channels, side, side, generator=generator)
        for channels, side in zip(STAGE_CHANNELS, sides, strict=True)
    ]


def test_statistics_are_mean_and_deviation_over_the_map():
    given = maps()
    found = statistics_of(given, TrunkReadingSettings())
    expected = [part for each in given for part in (
        each.mean(dim=(2, 3)), each.std(dim=(2, 3), unbiased=False))]  # fmt: skip
    torch.testing.assert_close(found, torch.cat(expected, dim=1), atol=1e-5, rtol=0)


def test_stages_are_read_from_early_to_late_however_they_are_named():
    given = maps()
    late = statistics_of(given, TrunkReadingSettings(stages="late"))
    named = statistics_of(given, TrunkReadingSettings(stages=("stage7", "stage6")))
    assert torch.equal(late, named)
    assert late.shape == (3, TrunkReadingSettings(stages="late").dimensions)


def test_a_disc_leaves_the_corners_out():
    settings = TrunkReadingSettings(stages=("stem",), statistics=("mean",), region="disc")
    given = maps()
    corners = [each.clone() for each in given]
    corners[0][..., :2, :2] = 1e6
    assert torch.equal(statistics_of(given, settings), statistics_of(corners, settings))
    centre = [each.clone() for each in given]
    centre[0][..., 8, 8] += 1
    assert not torch.equal(statistics_of(given, settings), statistics_of(centre, settings))


def test_a_map_of_one_place_is_its_own_mean_in_a_disc_too():
    settings = TrunkReadingSettings(stages="last", region="disc")
    found = statistics_of(maps(), settings)
    torch.testing.assert_close(found[:, :320], maps()[-1][..., 0, 0])
    torch.testing.assert_close(found[:, 320:], torch.zeros(3, 320))


@pytest.mark.parametrize("region", ["whole", "disc"])
def test_the_maps_of_statistics_have_the_statistics_for_means(region):
    settings = TrunkReadingSettings(region=region)
    given = [each.repeat(1, 1, 2, 2) for each in maps()]
    placed = statistic_maps(given, settings)
    assert placed.shape == (3, 1632, 2, 2)
    torch.testing.assert_close(
        placed.mean(dim=(2, 3)), statistics_of(given, settings), atol=1e-4, rtol=1e-4
    )


@pytest.mark.parametrize("wrong", [{"stages": ()}, {"stages": ("stem", "stem")},
                                   {"stages": ("stage8",)}, {"statistics": ()},
                                   {"statistics": ("mean", "mean")}])  # fmt: skip
def test_settings_that_read_nothing_or_something_twice_are_refused(wrong):
    with pytest.raises(ValidationError):
        TrunkReadingSettings(**wrong)


def test_a_reader_stays_frozen_while_what_holds_it_is_trained():
    reader = TrunkReader(TrunkReadingSettings(stages="last"))
    torch.nn.Sequential(reader).train()
    assert not any(module.training for module in reader.modules())


def test_pictures_become_pixels_unchanged():
    pictures = np.random.default_rng(0).integers(0, 256, (2, 8, 6, 3), np.uint8)
    pixels = as_pixels(pictures)
    assert pixels.shape == (2, 3, 8, 6)
    assert np.array_equal(pixels.permute(0, 2, 3, 1).numpy(), pictures)

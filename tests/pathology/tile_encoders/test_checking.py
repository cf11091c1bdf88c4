"""What every encoder must do is tried, and one that does not is told from one that does."""

import numpy as np
import pytest
from typer.testing import CliRunner

from offsite.errors import InputError
from offsite.pathology.tile_encoders.checking import check_encoder, encoder_named, list_encoders
from offsite.pathology.tile_encoders.colour import ColourBaseline
from offsite.pathology.tile_encoders.names import OWN
from offsite.pathology.tile_encoders.registry import EncoderSettings
from offsite.workflows.cli import app


def failing(encoder: ColourBaseline) -> set[str]:
    return {one.name for one in check_encoder(encoder) if not one.holds}


class Mixed(ColourBaseline):
    """Features depend on the other tiles of the call."""

    def encode(self, pixels: np.ndarray) -> np.ndarray:
        features = super().encode(pixels)
        return features - features.mean(axis=0)


class Drawn(ColourBaseline):
    """Features of chance."""

    generator = np.random.default_rng(0)

    def encode(self, pixels: np.ndarray) -> np.ndarray:
        features = super().encode(pixels)
        return (features + self.generator.normal(size=features.shape)).astype(np.float32)


class Constant(ColourBaseline):
    """The same for every tile, one number of them none."""

    def encode(self, pixels: np.ndarray) -> np.ndarray:
        features = np.zeros((len(pixels), self.dimensions), np.float32)
        features[:, 0] = np.inf
        return features


def test_a_good_encoder_holds_and_bad_ones_fail_by_name() -> None:
    assert failing(ColourBaseline(64, 0.5)) == set()
    assert failing(Mixed(64, 0.5)) == {"alone as in a batch"}
    assert {"repeatable", "alone as in a batch"} <= failing(Drawn(64, 0.5))
    with np.errstate(invalid="ignore"):
        assert {"finite"} <= failing(Constant(64, 0.5))


def test_the_list_has_every_encoder_and_what_it_lacks() -> None:
    entries = {entry.name: entry for entry in list_encoders()}
    assert list(entries) == [*OWN, "timm:NAME"]
    assert entries["colour_baseline"].ready
    assert entries["colour_baseline"].dimensions == ColourBaseline(224, 0.5).dimensions
    assert not entries["resnet18"].ready
    assert "weights" in entries["resnet18"].needs


def test_an_encoder_is_named_with_its_weights() -> None:
    like = EncoderSettings(tile_px=128)
    named = encoder_named("resnet18=a.pt", like)
    assert (named.name, named.weights, named.tile_px) == ("resnet18", "a.pt", 128)
    with pytest.raises(InputError) as caught:
        encoder_named("resnet19")
    assert caught.value.code == "unknown_encoder"


def test_the_command_prints_the_digest() -> None:
    done = CliRunner().invoke(app, ["encoder", "check", "colour_baseline"])
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[-1] == ColourBaseline(224, 0.5).digest

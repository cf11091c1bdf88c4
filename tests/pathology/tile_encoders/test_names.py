"""An encoder is named among those of offsite, those of timm and those that other packages bring."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from offsite.errors import InputError
from offsite.pathology.tile_encoders import foundation
from offsite.pathology.tile_encoders.checking import check_encoder, encoder_named
from offsite.pathology.tile_encoders.models import MODELS
from offsite.pathology.tile_encoders.names import OWN, check_encoder_name, encoder_names, needs
from offsite.pathology.tile_encoders.networks import NetworkEncoder
from offsite.pathology.tile_encoders.registry import EncoderSettings, load_encoder

PACKAGE = """
import numpy as np

class Grey:
    name, dimensions, digest = "GIVEN_NAME", 2, "0" * 64

    def __init__(self, settings):
        self.tile_px, self.mpp = settings.tile_px, settings.mpp

    def encode(self, pixels):
        grey = pixels.reshape(len(pixels), -1).astype(np.float32)
        return np.stack([grey.mean(axis=1), grey.std(axis=1)], axis=1)

def text(settings):
    return "nothing"

class Broken:
    def __init__(self, settings):
        raise OSError("no licence server")
"""


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Install a package that brings encoders, as pip leaves one behind."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def install(module="grey_tiles", **entries):
        (tmp_path / f"{module}.py").write_text(PACKAGE.replace("GIVEN_NAME", next(iter(entries))))
        info = tmp_path / f"{module}-2.1.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 2.1\n")
        lines = "".join(f"{name} = {module}:{what}\n" for name, what in entries.items())
        (info / "entry_points.txt").write_text(f"[offsite.tile_encoders]\n{lines}")

    return install


def test_another_package_brings_an_encoder_by_an_entry_point(installed):
    with pytest.raises(ValidationError, match="no encoder is named 'grey'"):
        EncoderSettings(name="grey")
    installed(grey="Grey")
    assert encoder_names() == (*OWN, "grey")
    encoder = load_encoder(EncoderSettings(name="grey", tile_px=32))
    assert all(one.holds for one in check_encoder(encoder))
    tile = np.full((1, 32, 32, 3), 7, np.uint8)
    np.testing.assert_array_equal(encoder.encode(tile), [[7, 0]])


def test_an_encoder_of_another_package_that_fails_says_whose_it_is(installed):
    installed("broken_tiles", broken="Broken", no_encoder="text")
    for name, words in {"broken": "no licence server", "no_encoder": "no tile encoder"}.items():
        with pytest.raises(InputError, match=words) as caught:
            load_encoder(EncoderSettings(name=name))
        assert caught.value.code == "encoder_absent"
        assert "broken_tiles" in caught.value.problem


@pytest.mark.parametrize("taken", ["uni", "resnet18"])
def test_a_name_is_brought_once(installed, taken):
    installed(**{taken: "Grey"})
    with pytest.raises(InputError) as caught:
        encoder_names()
    assert caught.value.code == "encoder_twice"


def test_a_name_that_no_encoder_has_is_refused_with_the_nearest():
    for name in ("virchow3", "timm:", "resnet19"):
        with pytest.raises(InputError) as caught:
            check_encoder_name(name)
        assert caught.value.code == "unknown_encoder"
    with pytest.raises(ValidationError, match="Did you mean 'phikon_v2'"):
        EncoderSettings(name="phikonv2")
    named = encoder_named("timm:vit_small_patch16_224=weights.safetensors")
    assert (named.name, named.weights) == ("timm:vit_small_patch16_224", "weights.safetensors")


@pytest.mark.parametrize("name", [*MODELS, "folder", "timm:vit_small_patch16_224"])
def test_weights_are_asked_for_before_any_package(name):
    assert needs(name).weights
    with pytest.raises(InputError) as caught:
        load_encoder(EncoderSettings(name=name))
    assert caught.value.code == "encoder_weights"
    if name in MODELS:
        assert MODELS[name].licence in caught.value.problem


@pytest.mark.parametrize(
    ("text", "words"),
    [("[1]", "no object"), ("{", "cannot be read"), ("{}", "knows no architecture|timm")],
)
def test_a_folder_s_configuration_is_read_with_care(tmp_path, text, words):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(InputError, match=words) as caught:
        load_encoder(EncoderSettings(name="folder", weights=str(tmp_path)))
    assert caught.value.code in ("encoder_weights", "missing_package")


def test_a_folder_of_another_package_is_refused_by_name(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "vit"}')
    with pytest.raises(InputError, match="one of transformers, encoder 'uni' one of timm"):
        load_encoder(EncoderSettings(name="uni", weights=str(tmp_path)))


class Tokens(torch.nn.Module):
    """Two prefix tokens and three patches, of which the pictures' mean is the first number."""

    def forward_features(self, tiles):
        rows = torch.arange(5.0)[None, :, None].expand(len(tiles), 5, 2).clone()
        return rows + tiles.mean(dim=(1, 2, 3))[:, None, None]

    forward = forward_features


def test_the_vector_is_the_one_that_is_asked_for():
    tiles = torch.zeros(1, 3, 8, 8)

    def read(pooling, prefix=2):
        return foundation.Pooled(Tokens(), pooling, prefix)(tiles)[0].tolist()

    assert read("auto") == read("cls") == [0, 0]
    assert read("auto", prefix=0) == [2, 2]
    assert read("mean") == [3, 3]
    assert read("cls_mean") == [0, 0, 3, 3]
    with pytest.raises(InputError, match="no tokens"):
        read("cls", prefix=0)


def test_an_encoder_keeps_its_name_and_its_digest_wherever_it_computes():
    def encoder(name="a", **more):
        network = torch.nn.Conv2d(3, 4, 3)
        torch.nn.init.constant_(network.weight, 0.1)
        torch.nn.init.zeros_(network.bias)
        return NetworkEncoder(name, network, tile_px=16, mpp=0.5, device="cpu", **more)

    plain = encoder()
    assert plain.name == "a"
    assert encoder(precision="bfloat16").digest == plain.digest
    assert encoder("b").digest != plain.digest
    assert encoder(facts={"pooling": "cls"}).digest != plain.digest
    tiles = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), np.uint8)
    half = encoder(precision="bfloat16").encode(tiles)
    assert half.dtype == np.float32
    assert not np.array_equal(half, plain.encode(tiles))
    np.testing.assert_allclose(half, plain.encode(tiles), rtol=0.02, atol=0.02)


def test_what_overflows_in_half_precision_is_computed_in_full(caplog):
    class Large(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(3, 2, bias=False)
            torch.nn.init.constant_(self.layer.weight, 60000.0)

        def forward(self, tiles):
            return self.layer(tiles.mean(dim=(2, 3)) * 100)

    tiles = np.full((2, 8, 8, 3), 255, np.uint8)
    given = {"tile_px": 8, "mpp": 0.5, "mean": (0.0,) * 3, "std": (1.0,) * 3, "device": "cpu"}
    expected = NetworkEncoder("large", Large(), **given).encode(tiles)
    assert expected.max() > 1e7
    found = NetworkEncoder("large", Large(), precision="float16", **given).encode(tiles)
    np.testing.assert_array_equal(found, expected)
    assert "float32 from now on" in caplog.text

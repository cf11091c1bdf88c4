import sys
from importlib.util import find_spec

import pytest
import torch
from safetensors.torch import save_file

from offsite.errors import InputError
from offsite.retina.networks.backbones import build_backbone
from offsite.retina.networks.classifier import build_classifier
from offsite.retina.networks.first_weights import load_first_weights
from offsite.retina.settings import BackboneSettings
from offsite.training.vision_packages import timm_package

NAMES = ("thin_resnet18", "resnet18", "resnet50", "densenet121", "efficientnet-b0")


def build(name, **settings):
    torch.manual_seed(0)
    return build_backbone(BackboneSettings(name=name, **settings)).eval()


@pytest.mark.parametrize("name", NAMES)
def test_wherever_it_is_parted_the_embedding_is_the_same(name):
    pixels = torch.randn(2, 3, 64, 64)
    found = [build(name, split_after=split)(pixels) for split in (0, 3)]
    assert found[0].shape == (2, build(name).dimensions)
    assert torch.equal(*found)


def test_a_classifier_is_the_same_for_a_seed_and_leaves_the_generator_alone():
    torch.manual_seed(5)
    one = build_classifier(BackboneSettings(width=4), 3, seed=1)
    after = torch.rand(1)
    torch.manual_seed(5)
    assert torch.equal(after, torch.rand(1))
    other = build_classifier(BackboneSettings(width=4), 3, seed=1)
    assert torch.equal(one.classifier.weight, other.classifier.weight)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("prefix", ["", "module.backbone."])
def test_weights_in_torchvision_names_load_with_prefixes_and_without_the_head(
    tmp_path, suffix, prefix
):
    source = build("thin_resnet18", width=4)
    state = {f"{prefix}{n}": t + 1 for n, t in source.net.state_dict().items()}
    state["fc.weight"] = torch.zeros(1000, 32)
    file = tmp_path / f"weights{suffix}"
    save_file(state, file) if suffix == ".safetensors" else torch.save(state, file)
    loaded = build("thin_resnet18", width=4, weights=file)
    for name, tensor in source.net.state_dict().items():
        assert torch.equal(loaded.net.state_dict()[name], tensor + 1)


def test_torchvisions_names_of_a_dense_layer_are_understood(tmp_path):
    source = build("densenet121")
    state = {n.replace(".layers.", "."): t for n, t in source.net.state_dict().items()}
    save_file(state, tmp_path / "w.safetensors")
    net = build("densenet121").net
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.zero_()
    load_first_weights(net, tmp_path / "w.safetensors")
    loaded = net.state_dict()
    assert all(torch.equal(loaded[n], t) for n, t in source.net.state_dict().items())


def test_weights_of_another_network_are_refused(tmp_path):
    save_file(dict(build("thin_resnet18", width=8).net.state_dict()), tmp_path / "w.safetensors")
    with pytest.raises(InputError) as error:
        build("thin_resnet18", width=4, weights=tmp_path / "w.safetensors")
    assert error.value.code == "weights_do_not_fit"


class Evil:
    def __reduce__(self):
        import os

        return os.mkdir, ("evil",)


def test_a_file_that_would_run_code_is_refused_and_does_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"conv1.weight": Evil()}, tmp_path / "w.pth")
    with pytest.raises(InputError) as error:
        build("thin_resnet18", weights=tmp_path / "w.pth")
    assert error.value.code == "unreadable_weights"
    assert not (tmp_path / "evil").exists()


def timm_or_skip():
    if find_spec("timm") is None:
        pytest.skip("timm is not installed")
    return timm_package()


def test_without_timm_its_networks_are_refused_with_the_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(InputError, match=r"offsite\[timm\]") as error:
        build("timm", timm="resnet18")
    assert error.value.code == "missing_package"


@pytest.mark.parametrize("settings", [{"name": "timm"}, {"timm": "resnet18"}])
def test_a_network_of_timm_is_named_and_no_other_is(settings):
    with pytest.raises(ValueError, match="timm"):
        BackboneSettings(**settings)


@pytest.mark.parametrize("name", ["resnet18", "convnext_atto"])
def test_a_network_of_timm_is_parted_and_takes_its_local_weights(tmp_path, name):
    timm = timm_or_skip()
    whole = timm.create_model(name, pretrained=False).eval()
    state = {n: t.contiguous() for n, t in whole.state_dict().items()}
    save_file(state, tmp_path / "w.safetensors")
    pixels = torch.randn(2, 3, 64, 64)
    expected = whole.forward_features(pixels).mean(dim=(2, 3))
    for split in (0, 1, 3):
        backbone = build("timm", timm=name, split_after=split, weights=tmp_path / "w.safetensors")
        assert backbone.dimensions == expected.shape[1]
        assert torch.allclose(backbone(pixels), expected, atol=1e-4)
        assert all(layer in dict(backbone.named_modules()) for layer in backbone.first_layers)


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "no_such_network"])
def test_what_timm_does_not_part_or_know_is_refused(name):
    timm_or_skip()
    with pytest.raises(InputError) as error:
        build("timm", timm=name)
    assert error.value.code in ("no_stages", "unknown_backbone")

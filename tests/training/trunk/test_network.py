"""The trunk computes what its makers' network computes, at any size, folded or not."""

import cv2
import numpy as np
import pytest
import torch

from offsite.training.trunk.network import (
    Lite0,
    folded_state,
    trunk_input,
)
from offsite.training.trunk.settings import STAGE_CHANNELS, STAGE_NAMES
from offsite.training.trunk.weights import trunk_state, wheel_file

# ImageNet's classes of what a photograph shows.
KNOWN = {"dog": range(151, 269), "elephant": (101, 385, 386), "guitar": (402, 546)}


@pytest.fixture(scope="module")
def network():
    network = Lite0()
    network.load_state_dict(trunk_state())
    return network.eval()


@pytest.fixture(scope="module")
def folded(network):
    folded = Lite0(folded=True)
    folded.load_state_dict(folded_state(network.state_dict()))
    return folded.eval()


def pictures(px, seed=0):
    return torch.randint(
        0, 256, (2, 3, px, px), generator=torch.Generator().manual_seed(seed)
    ).float()


@pytest.mark.parametrize("px", [96, 130, 160, 224])
def test_equals_the_network_that_the_weights_were_published_with(network, folded, px):
    package = pytest.importorskip("efficientnet_lite_pytorch")
    theirs = package.EfficientNet.from_name("efficientnet-lite0", image_size=px)
    theirs.load_state_dict(torch.load(wheel_file(), weights_only=True))
    theirs.eval()
    inputs = trunk_input(pictures(px))
    expected = theirs.extract_features(inputs)
    torch.testing.assert_close(network(inputs), expected, atol=1e-6, rtol=0)
    with torch.inference_mode():  # by other kernels, which add up in another order
        torch.testing.assert_close(network(inputs), expected, atol=1e-4, rtol=0)
        torch.testing.assert_close(folded(inputs), expected, atol=1e-4, rtol=0)


@torch.inference_mode()
def test_maps_are_those_of_the_stages_from_early_to_late(folded):
    maps = folded.maps(trunk_input(pictures(160)))
    assert [len(found[0]) for found in maps] == list(STAGE_CHANNELS)
    assert len(maps) == len(STAGE_NAMES)
    assert [found.shape[-1] for found in maps] == [80, 80, 40, 20, 10, 10, 5, 5]


@torch.inference_mode()
def test_a_picture_gives_the_same_alone_as_among_others(folded):
    inputs = trunk_input(pictures(128))
    torch.testing.assert_close(folded(inputs)[1:], folded(inputs[1:]), atol=3e-5, rtol=0)


@torch.inference_mode()
def test_the_scale_of_the_input_is_the_one_that_knows_what_a_photograph_shows(network, real_data):
    """Another scale gives no error, and other answers."""
    photographs = real_data / "natural_ood/pacs_mini_10/photo"
    head = torch.load(wheel_file(), weights_only=True)

    def chance(inputs, classes):
        logits = network(inputs).mean(dim=(2, 3)) @ head["_fc.weight"].T + head["_fc.bias"]
        return float(torch.softmax(logits, dim=1)[0, list(classes)].sum())

    right, wrong = [], []
    for name, classes in KNOWN.items():
        (file,) = sorted((photographs / name).iterdir())[:1]
        picture = cv2.resize(cv2.imread(str(file)), (224, 224), interpolation=cv2.INTER_AREA)
        rgb = np.ascontiguousarray(picture[..., ::-1].transpose(2, 0, 1))
        pixels = torch.from_numpy(rgb)[None].float()
        right.append(chance(trunk_input(pixels), classes))
        wrong.append(chance(pixels / 255, classes))
    assert min(right) > 0.5
    assert min(wrong) < 0.2


@pytest.mark.parametrize("pictures", [1, 5])
def test_few_pictures_on_one_thread_are_read_as_many_are(pictures):
    net = Lite0(folded=True).eval()
    net.load_state_dict(folded_state(trunk_state()))
    inputs = torch.rand(20, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            few, many = net.maps(inputs[:pictures]), net.maps(inputs)
    finally:
        torch.set_num_threads(before)
    for some, every in zip(few, many, strict=True):
        torch.testing.assert_close(some, every[:pictures], rtol=0, atol=1e-4)
        assert some.shape == every[:pictures].shape
    doubled = net.double()
    with torch.inference_mode():
        torch.testing.assert_close(
            doubled.maps(inputs[:pictures].double())[-1].float(), many[-1][:pictures],
            rtol=0, atol=1e-3,
        )  # fmt: skip

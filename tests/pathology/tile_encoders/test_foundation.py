"""Every foundation model with tiny random weights of its true architecture (`make foundation`)."""

import json
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from offsite.errors import InputError
from offsite.pathology.tile_encoders.checking import check_encoder
from offsite.pathology.tile_encoders.models import MODELS
from offsite.pathology.tile_encoders.registry import EncoderSettings, load_encoder
from offsite.training.vision_packages import timm_package

pytestmark = [
    pytest.mark.skipif(
        find_spec("timm") is None or find_spec("transformers") is None,
        reason="timm and transformers are not installed (`make foundation` installs them)",
    ),
]

SMALL = {"depth": 2, "num_heads": 2}
SWIGLU = "swiglu"
OPTIMUS = {"mean": [0.707223, 0.578729, 0.703617], "std": [0.211883, 0.230117, 0.177517]}
IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}

# What the makers' config.json holds, with fewer and narrower layers; and how their page says the
# network is to be built (what no configuration can name).
TIMM = {
    "uni": (
        "vit_large_patch16_224",
        {"img_size": 224, "embed_dim": 64, **SMALL},
        {"init_values": 1e-5, "dynamic_img_size": True},
        64,
    ),
    "uni2": (
        "vit_giant_patch14_224",
        {"img_size": 224, "embed_dim": 96, **SMALL},
        {
            "patch_size": 14, "init_values": 1e-5, "mlp_ratio": 2.66667 * 2, "reg_tokens": 8,
            "no_embed_class": True, "dynamic_img_size": True, SWIGLU: True,
        },
        96,
    ),
    "virchow": (
        "vit_huge_patch14_224",
        {
            "img_size": 224, "init_values": 1e-5, "mlp_ratio": 5.3375, "global_pool": "",
            "dynamic_img_size": True, "embed_dim": 160, **SMALL,
        },
        {SWIGLU: True},
        320,
    ),
    "virchow2": (
        "vit_huge_patch14_224",
        {
            "img_size": 224, "init_values": 1e-5, "mlp_ratio": 5.3375, "global_pool": "",
            "reg_tokens": 4, "dynamic_img_size": True, "embed_dim": 160, **SMALL,
        },
        {SWIGLU: True},
        320,
    ),
    "h_optimus_0": (
        "vit_giant_patch14_reg4_dinov2",
        {"img_size": 224, "global_pool": "token", "embed_dim": 96, **SMALL},
        {"init_values": 1e-5, "dynamic_img_size": False},
        96,
    ),
    "h_optimus_1": (
        "vit_giant_patch14_reg4_dinov2",
        {"img_size": 224, "global_pool": "token", "embed_dim": 96, **SMALL},
        {"init_values": 1e-5, "dynamic_img_size": False},
        96,
    ),
    "h0_mini": (
        "vit_base_patch14_reg4_dinov2",
        {"img_size": 224, "global_pool": "", "mlp_ratio": 5.33334, "embed_dim": 96, **SMALL},
        {SWIGLU: True},
        96,
    ),
    "gigapath": (
        "vit_giant_patch14_dinov2",
        {
            "img_size": 224, "in_chans": 3, "patch_size": 16, "init_values": 1e-5,
            "mlp_ratio": 5.33334, "num_classes": 0, "embed_dim": 96, **SMALL,
        },
        {},
        96,
    ),
}  # fmt: skip
TRANSFORMERS = {
    "phikon": ("vit", {"hidden_size": 64, "intermediate_size": 256, "patch_size": 16}, 64),
    "phikon_v2": ("dinov2", {"hidden_size": 64, "mlp_ratio": 4, "patch_size": 16}, 64),
}


def write_timm(folder, name, seed=0):
    """A folder as the makers publish it; the network whose weights it holds."""
    timm = timm_package()
    architecture, stated, told, _ = TIMM[name]
    options = {key: value for key, value in told.items() if key != SWIGLU} | stated
    if SWIGLU in told:
        options |= {"mlp_layer": timm.layers.SwiGLUPacked, "act_layer": torch.nn.SiLU}
    torch.manual_seed(seed)
    network = timm.create_model(architecture, **(options | {"num_classes": 0})).eval()
    for parameter in network.parameters():  # 1e-5 of layer scale would hide what a layer does
        torch.nn.init.normal_(parameter, std=0.1)
    colours = OPTIMUS if name.startswith("h") else IMAGENET
    folder.mkdir(exist_ok=True)
    configuration = {
        "architecture": architecture,
        "num_classes": 0,
        "model_args": stated,
        "pretrained_cfg": {"input_size": [3, 224, 224], **colours},
    }
    (folder / "config.json").write_text(json.dumps(configuration))
    state = {key: value.contiguous() for key, value in network.state_dict().items()}
    save_file(state, folder / "model.safetensors")
    return network, colours


def write_transformers(folder, name, seed=0):
    from transformers import AutoConfig, Dinov2Model, ViTModel

    kind, stated, _ = TRANSFORMERS[name]
    configuration = AutoConfig.for_model(
        kind, image_size=224, num_hidden_layers=2, num_attention_heads=2, **stated
    )
    torch.manual_seed(seed)
    pooler = {"add_pooling_layer": False} if kind == "vit" else {}
    network = (ViTModel if kind == "vit" else Dinov2Model)(configuration, **pooler).eval()
    network.save_pretrained(folder)
    prepared = {"image_mean": IMAGENET["mean"], "image_std": IMAGENET["std"]}
    (folder / "preprocessor_config.json").write_text(json.dumps(prepared))
    return network, IMAGENET


def folder_of(name, folder, seed=0):
    return (write_timm if name in TIMM else write_transformers)(folder, name, seed)


def encoder(name, weights, **more):
    given = {"name": name, "weights": str(weights), "device": "cpu", "batch_size": 2, **more}
    return load_encoder(EncoderSettings(**given))


@pytest.fixture(scope="module")
def tiles():
    return np.random.default_rng(0).integers(0, 256, (3, 224, 224, 3), np.uint8)


def normalised(tiles, colours):
    mean, std = (torch.tensor(colours[key])[None, :, None, None] for key in ("mean", "std"))
    return (torch.from_numpy(tiles).permute(0, 3, 1, 2) / 255 - mean) / std


@torch.inference_mode()
def as_the_makers_say(name, network, pixels):
    """The features as the makers' pages compute them, written out."""
    if name in TRANSFORMERS:
        return network(pixel_values=pixels).last_hidden_state[:, 0, :]
    if name.startswith("virchow"):
        output = network(pixels)
        first = 5 if name == "virchow2" else 1
        return torch.cat([output[:, 0], output[:, first:].mean(1)], dim=-1)
    return network(pixels)[:, 0] if name == "h0_mini" else network(pixels)


def test_every_model_is_tried_here():
    assert set(MODELS) == {*TIMM, *TRANSFORMERS}


@pytest.mark.parametrize("name", MODELS)
def test_features_are_those_of_the_makers(name, tmp_path, tiles):
    network, colours = folder_of(name, tmp_path / name)
    found = encoder(name, tmp_path / name)
    expected = as_the_makers_say(name, network, normalised(tiles, colours)).numpy()
    width = TIMM[name][3] if name in TIMM else TRANSFORMERS[name][2]
    assert found.dimensions == expected.shape[1] == width
    assert (found.name, found.tile_px, found.licence) == (name, 224, MODELS[name].licence)
    np.testing.assert_allclose(found.encode(tiles), expected, atol=2e-4 * expected.std())
    assert all(one.holds for one in check_encoder(found))


@pytest.mark.parametrize("name", MODELS)
def test_a_digest_is_the_same_at_each_load_and_follows_the_weights(name, tmp_path):
    folder_of(name, tmp_path / "a")
    digests = {encoder(name, tmp_path / "a").digest for _ in range(2)}
    assert len(digests) == 1
    folder_of(name, tmp_path / "b", seed=1)
    assert encoder(name, tmp_path / "b").digest not in digests


@pytest.mark.parametrize("name", ["virchow2", "gigapath", "phikon_v2", "uni"])
def test_a_folder_is_read_by_what_it_says_of_itself(name, tmp_path, tiles):
    network, colours = folder_of(name, tmp_path / name)
    plain = encoder("folder", tmp_path / name, mpp=0.7)
    pixels = normalised(tiles, colours)
    with torch.inference_mode():
        output = network(pixels) if name in TIMM else network(pixel_values=pixels)[0]
    expected = (output[:, 0] if output.ndim == 3 else output).numpy()
    np.testing.assert_allclose(plain.encode(tiles), expected, atol=2e-4 * expected.std())
    assert plain.mpp == 0.7
    assert plain.name.startswith("folder:")
    joined = encoder("folder", tmp_path / name, pooling="cls_mean")
    assert joined.dimensions == 2 * plain.dimensions
    assert joined.digest != plain.digest


def test_a_network_of_timm_by_its_name_takes_a_file_or_a_folder(tmp_path, tiles):
    timm = timm_package()
    torch.manual_seed(0)
    network = timm.create_model("resnet18", num_classes=7).eval()
    state = {key: value.contiguous() for key, value in network.state_dict().items()}
    save_file(state, tmp_path / "w.safetensors")
    found = encoder("timm:resnet18", tmp_path / "w.safetensors")
    with torch.inference_mode():
        pixels = normalised(tiles, IMAGENET)
        expected = network.forward_features(pixels).mean(dim=(2, 3)).numpy()
    np.testing.assert_allclose(found.encode(tiles), expected, atol=1e-4)
    torch.save(state, tmp_path / "w.pt")
    assert encoder("timm:resnet18", tmp_path / "w.pt").digest == found.digest
    with pytest.raises(InputError, match="knows no architecture"):
        encoder("timm:resnet19", tmp_path / "w.safetensors")
    with pytest.raises(InputError, match="no tokens"):
        encoder("timm:resnet18", tmp_path / "w.safetensors", pooling="cls")


def test_weights_that_are_missing_or_left_over_are_refused(tmp_path):
    network, _ = write_timm(tmp_path / "a", "uni")
    state = {key: value.contiguous() for key, value in network.state_dict().items()}
    for change, words in (
        ({"norm.weight": None}, "missing or left over, such as norm.weight"),
        ({"extra.weight": torch.zeros(3)}, "missing or left over, such as extra.weight"),
        ({"head.weight": torch.zeros(2, 64)}, ""),
        ({"norm.weight": torch.zeros(3)}, "another architecture"),
    ):
        changed = {key: value for key, value in {**state, **change}.items() if value is not None}
        save_file(changed, tmp_path / "a" / "model.safetensors")
        if not words:
            assert encoder("uni", tmp_path / "a").dimensions == 64
            continue
        with pytest.raises(InputError, match=words) as caught:
            encoder("uni", tmp_path / "a")
        assert caught.value.code == "encoder_weights"
    (tmp_path / "a" / "model.safetensors").write_bytes(b"version https://git-lfs.github.com")
    with pytest.raises(InputError, match="cannot be read"):
        encoder("uni", tmp_path / "a")
    (tmp_path / "a" / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"none of model\.safetensors"):
        encoder("uni", tmp_path / "a")


def test_weights_that_transformers_would_draw_anew_are_refused(tmp_path):
    from safetensors.torch import load_file

    write_transformers(tmp_path / "a", "phikon")
    state = load_file(tmp_path / "a" / "model.safetensors")
    name = next(name for name in state if name.startswith("encoder.layer"))
    save_file({key: value for key, value in state.items() if key != name},
              tmp_path / "a" / "model.safetensors", metadata={"format": "pt"})  # fmt: skip
    with pytest.raises(InputError, match="1 weights are missing"):
        encoder("phikon", tmp_path / "a")
    (tmp_path / "a" / "config.json").write_text(
        '{"model_type": "evil", "auto_map": {"AutoModel": "evil.Evil"}}'
    )
    (tmp_path / "a" / "evil.py").write_text("raise SystemExit('ran')")
    with pytest.raises(InputError, match="transformers cannot load it"):
        encoder("phikon", tmp_path / "a")


def test_a_run_s_model_is_not_refused_when_its_encoder_is_loaded_again(tmp_path, tiles):
    """The whole way: features of an encoder, and the same features in another process."""
    import subprocess
    import sys

    write_transformers(tmp_path / "phikon", "phikon")
    here = encoder("phikon", tmp_path / "phikon")
    code = (
        "from offsite.pathology.tile_encoders.registry import EncoderSettings, load_encoder;"
        f"print(load_encoder(EncoderSettings(name='phikon', weights={str(tmp_path / 'phikon')!r},"
        " device='cpu')).digest)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.split()[-1] == here.digest

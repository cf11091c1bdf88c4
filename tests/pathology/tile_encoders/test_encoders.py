import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from offsite.errors import InputError
from offsite.pathology.tile_encoders.contract import TileEncoder, check_scale
from offsite.pathology.tile_encoders.networks import NetworkEncoder
from offsite.pathology.tile_encoders.registry import EncoderSettings, load_encoder
from offsite.pathology.tile_encoders.structure import StructureBaseline
from offsite.preprocessing.synthetic.slides.biology import grow
from offsite.preprocessing.synthetic.slides.rendering import render
from offsite.preprocessing.synthetic.slides.sites import SITES

TILE_PX = 224


def _tiles(site, label, seed, count=12):
    """Tiles at 0.5 um per px from within the class's pattern."""
    biology = grow((11, seed), label, width_um=500, height_um=500, lesion_share=(0.8, 0.9))
    image = render(biology, SITES[site], seed=(seed, site), mpp=0.5)
    pattern = (
        np.minimum(biology.epithelium, biology.tissue) if label == "normal" else biology.lesion
    )
    found = []
    for y in range(0, len(image) - TILE_PX, 48):
        for x in range(0, image.shape[1] - TILE_PX, 48):
            inside = pattern[y // 4 : (y + TILE_PX) // 4, x // 4 : (x + TILE_PX) // 4] > 0
            found.append((inside.mean(), image[y : y + TILE_PX, x : x + TILE_PX]))
    found.sort(key=lambda item: -item[0])
    return np.stack([tile for _, tile in found[:count]])


@pytest.fixture(scope="module")
def tiles():
    labels = ("normal", "low_grade", "high_grade")
    found = [
        (site, label, _tiles(site, name, 10 * site + label, count=8))
        for site in (0, 1, 4) for label, name in enumerate(labels)
    ]  # fmt: skip
    pixels = np.concatenate([part for _, _, part in found])
    sites = np.repeat([site for site, _, _ in found], [len(part) for _, _, part in found])
    classes = np.repeat([label for _, label, _ in found], [len(part) for _, _, part in found])
    return pixels, classes, sites


def _accuracy_at_an_unseen_site(features, classes, sites, held_out):
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    seen = sites != held_out
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.05, max_iter=300))
    probe.fit(features[seen], classes[seen])
    return probe.score(features[~seen], classes[~seen])


def test_the_baseline_tells_structure_at_unseen_sites_where_colour_does_not(tiles):
    pixels, classes, sites = tiles
    structure = StructureBaseline().encode(pixels)
    colour = np.stack(
        [
            np.concatenate([np.histogram(t[..., c], 16, (0, 256))[0] for c in range(3)])
            for t in pixels
        ]
    )
    by_structure = [_accuracy_at_an_unseen_site(structure, classes, sites, s) for s in (0, 1, 4)]
    by_colour = [_accuracy_at_an_unseen_site(colour, classes, sites, s) for s in (0, 1, 4)]
    assert np.mean(by_structure) > 0.9
    assert np.mean(by_colour) < 0.6


def test_the_baseline_hardly_heeds_brightness_and_stain_strength(tiles):
    pixels = tiles[0]
    encoder = StructureBaseline()
    plain = encoder.encode(pixels)
    spread = plain.std(axis=0) + 1e-6
    dimmer = np.clip(pixels * 0.93, 0, 255).astype(np.uint8)
    stronger = (255 * (pixels / 255.0) ** 1.15).astype(np.uint8)
    for changed in (dimmer, stronger):
        moved = np.abs(encoder.encode(changed) - plain) / spread
        assert np.median(moved) < 0.15


def test_a_tile_s_features_do_not_depend_on_its_neighbours_in_the_batch(tiles):
    pixels = tiles[0][:6]
    encoder = StructureBaseline()
    assert isinstance(encoder, TileEncoder)
    alone = np.concatenate([encoder.encode(tile[None]) for tile in pixels])
    np.testing.assert_array_equal(encoder.encode(pixels), alone)
    assert alone.shape == (6, encoder.dimensions)


@pytest.mark.parametrize("value", [0, 128, 255])
def test_tiles_without_structure_have_finite_features(value):
    blank = np.full((1, 128, 128, 3), value, np.uint8)
    assert np.isfinite(StructureBaseline(128).encode(blank)).all()


def test_an_empty_batch_and_a_wrong_type_are_told_apart():
    encoder = StructureBaseline()
    assert encoder.encode(np.empty((0, 224, 224, 3), np.uint8)).shape == (0, encoder.dimensions)
    with pytest.raises(ValueError, match="uint8"):
        encoder.encode(np.zeros((1, 224, 224, 3), np.float32))


def test_tiles_of_another_scale_are_refused():
    encoder = load_encoder(EncoderSettings())
    check_scale(encoder, 0.52)
    with pytest.raises(InputError) as caught:
        check_scale(encoder, 0.25)
    assert caught.value.code == "scale"


def test_a_network_without_weights_is_refused_rather_than_run_untrained():
    for name in ("resnet18", "uni"):
        with pytest.raises(InputError) as caught:
            load_encoder(EncoderSettings(name=name))
        assert caught.value.code == "encoder_weights"


def test_a_monai_network_with_local_weights_encodes_and_its_digest_follows_the_weights(tmp_path):
    from monai.networks.nets import resnet18

    torch.manual_seed(0)
    network = resnet18(spatial_dims=2, n_input_channels=3, num_classes=4)
    state = {name: value.contiguous() for name, value in network.state_dict().items()}
    save_file(state, tmp_path / "a.safetensors")
    given = {"name": "resnet18", "tile_px": 64, "device": "cpu", "batch_size": 2}
    encoder = load_encoder(EncoderSettings(weights=str(tmp_path / "a.safetensors"), **given))
    pixels = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    features = encoder.encode(pixels)
    assert features.shape == (3, encoder.dimensions) == (3, 512)
    np.testing.assert_allclose(encoder.encode(pixels[:1]), features[:1], atol=1e-5)
    torch.save({"state_dict": state}, tmp_path / "b.pt")
    same = load_encoder(EncoderSettings(weights=str(tmp_path / "b.pt"), **given))
    assert same.digest == encoder.digest
    state["conv1.weight"] = state["conv1.weight"] + 1e-3
    torch.save(state, tmp_path / "c.pt")
    other = load_encoder(EncoderSettings(weights=str(tmp_path / "c.pt"), **given))
    assert other.digest != encoder.digest
    torch.save({"conv1.weight": state["conv1.weight"]}, tmp_path / "d.pt")
    with pytest.raises(InputError, match="missing"):
        load_encoder(EncoderSettings(weights=str(tmp_path / "d.pt"), **given))


def test_the_batch_is_halved_where_memory_is_short():
    class Greedy(torch.nn.Module):
        def forward(self, tiles):
            if len(tiles) > 2:
                raise torch.OutOfMemoryError("too much")
            return tiles.mean(dim=(2, 3))

    encoder = NetworkEncoder("greedy", Greedy(), tile_px=32, mpp=0.5, device="cpu", batch_size=16)
    pixels = np.random.default_rng(0).integers(0, 256, (9, 32, 32, 3), dtype=np.uint8)
    assert encoder.encode(pixels).shape == (9, 3)
    assert encoder.batch_size == 2


def test_normalisation_is_that_of_the_makers():
    encoder = NetworkEncoder(
        "plain", torch.nn.Identity(), tile_px=8, mpp=0.5, mean=(0.5, 0.4, 0.3),
        std=(0.1, 0.2, 0.5), device="cpu",
    )  # fmt: skip
    pixels = np.full((1, 8, 8, 3), 51, np.uint8)  # 0.2
    np.testing.assert_allclose(encoder.encode(pixels)[0], [-3.0, -1.0, -0.2], atol=1e-6)


def test_the_colour_control_reads_colour_and_no_structure():
    pixels = np.random.default_rng(0).integers(60, 230, (3, 64, 64, 3), dtype=np.uint8)
    encoder = load_encoder(EncoderSettings(name="colour_baseline"))
    features = encoder.encode(pixels)
    assert features.shape == (3, encoder.dimensions)
    shuffled = np.random.default_rng(1).permutation(pixels.reshape(3, -1, 3), axis=1)
    np.testing.assert_allclose(encoder.encode(shuffled.reshape(pixels.shape)), features, atol=1e-6)
    redder = np.clip(pixels + np.array([20, 0, 0]), 0, 255).astype(np.uint8)
    assert (np.abs(encoder.encode(redder) - features)[:, 0] > 0.05).all()
    assert np.isfinite(encoder.encode(np.full((1, 64, 64, 3), 200, np.uint8))).all()
    assert encoder.encode(pixels[:0]).shape == (0, encoder.dimensions)

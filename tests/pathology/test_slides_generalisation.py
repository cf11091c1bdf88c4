"""Methods of slides with an algorithm of domain generalisation: the photographs' own, by name."""

import itertools
import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from slides_on_disk import settings
from torch import nn

from offsite.errors import InputError
from offsite.pathology.bag_mixing import mixed_bags
from offsite.pathology.bags import Bags
from offsite.pathology.method_plan import TrainingItems, batch_plan, with_method
from offsite.pathology.methods import GENERALISERS, METHODS, method_named
from offsite.pathology.sc_mil import ScMil
from offsite.pathology.settings import STEADY, PathologySettings, ScMilSettings
from offsite.training.diagnostics import neural_collapse
from offsite.training.generalisation.making import make_algorithm
from offsite.training.generalisation.mixup import decoupled_term, draw_pairs
from offsite.training.generalisation.names import ALGORITHMS
from offsite.training.generalisation.settings import GeneralisationSettings
from offsite.training.losses.contrastive import supervised_contrastive

COUNTS = np.array([6, 4, 2])
COMPARING = [kind for kind in GENERALISERS if ALGORITHMS[kind].batches == "sites"]


def batch(seed=0):
    rng = np.random.default_rng(seed)
    bags = [rng.normal(size=(size, 6)) for size in (3, 9, 1, 5, 4, 7, 2, 6, 3, 3, 4, 8)]
    labels = [0, 0, 1, 1, 2, 2, 0, 0, 0, 1, 1, 0]
    return Bags.pack(bags, labels, sites=[n % 3 for n in range(12)])


def model(name, general=None):
    torch.manual_seed(0)
    plain = {"aggregator": {"width": 16, "dropout": 0.0}}
    added = GeneralisationSettings.model_validate(general or {})
    settings = with_method(method_named(name), ScMilSettings.model_validate(plain), general=added)
    return ScMil(6, 3, settings, COUNTS, n_sites=3)


@pytest.mark.parametrize("kind", COMPARING)
def test_the_objective_is_that_of_photographs_on_the_same_embeddings(kind):
    bags, mil = batch(), model(f"cross_entropy+{kind}")
    embedding = mil(bags).embedding
    settings = GeneralisationSettings(kind=kind)
    other = make_algorithm(settings, nn.Identity(), mil.classifier, mil.classification, 3)
    shown = Bags(embedding, bags.offsets, bags.labels, bags.bags, bags.sites)
    object.__setattr__(shown, "pixels", embedding)
    for progress in (0.0, 1.0):
        mine, plain = mil.step(bags, progress), other.step(shown, progress)
        torch.testing.assert_close(mine["loss"], plain["loss"])
        assert mine["classification"] is mine["loss"]
    if kind != "group_dro":
        assert mine["penalty"].item() != 0


@pytest.mark.parametrize("kind", COMPARING)
def test_contrast_hands_over_to_the_objective(kind):
    bags, mil = batch(), model(f"sc_mil+{kind}")
    twin = model(f"sc_mil+{kind}")  # what an objective remembers moves with each step
    output = mil(bags)
    contrast = supervised_contrastive(mil.projection(output.embedding), bags.labels, 1.0).loss
    losses = mil.step(bags, 0.25)
    # Where the classifier always learns, what it hands over is the gradient that reaches the embedding.
    expected = STEADY * contrast + twin.step(bags, 0.25)["classification"]
    torch.testing.assert_close(losses["loss"], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", GENERALISERS)
@pytest.mark.parametrize("base", METHODS)
def test_every_method_takes_every_algorithm_and_predicts_as_without(base, kind):
    if METHODS[base].loss == "ldam_drw" and kind == "fishr":
        with pytest.raises(InputError, match="classifier") as caught:
            method_named(f"{base}+{kind}")
        assert caught.value.code == "unfit_head"
        return
    bags, mil, plain = batch(), model(f"{base}+{kind}"), model(base)
    losses = mil.step(bags, 0.9)
    losses["loss"].backward()
    assert torch.isfinite(losses["loss"])
    assert mil.inference_state().keys() == plain.inference_state().keys()
    torch.testing.assert_close(mil.eval()(bags).logits, plain.eval()(bags).logits)


@pytest.mark.parametrize("name", ["sc_mil+erm", "sc_mil+corals", "sc_mill+coral", "sc_mil+"])
def test_a_name_that_is_none_is_refused(name):
    with pytest.raises(InputError, match="is named"):
        method_named(name)
    with pytest.raises(ValueError, match="is named"):
        PathologySettings(method=name)


def statistics(rows, offsets):
    parts = [rows[low:high] for low, high in itertools.pairwise(offsets)]
    means = torch.stack([part.mean(0) for part in parts])
    return means, torch.stack([part.std(0, correction=0) for part in parts])


def test_a_mixed_bag_has_statistics_between_its_own_and_another_site_s():
    torch.manual_seed(0)
    sizes, sites = torch.tensor([40, 50, 60]), torch.tensor([0, 1, 1])
    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), sizes.cumsum(0)])
    site = torch.repeat_interleave(sites, sizes)[:, None]
    rows = torch.randn(150, 4) * (1 + site) + 5 * site
    settings = GeneralisationSettings(kind="mixstyle", probability=1.0, alpha=0.5)
    mixed = mixed_bags(rows, offsets, sites, settings)
    (mean, spread), (new_mean, new_spread) = (statistics(r, offsets) for r in (rows, mixed))
    # Bags 1 and 2 can only have bag 0 as a partner: the share that one feature shows, all show.
    for bag in (1, 2):
        share = (new_mean[bag] - mean[0]) / (mean[bag] - mean[0])
        assert share.std() < 1e-3
        assert 0 <= share.mean() <= 1
        between = share * spread[bag] + (1 - share) * spread[0]
        torch.testing.assert_close(new_spread[bag], between, rtol=1e-3, atol=1e-3)
    pattern = (rows[:40] - mean[0]) / spread[0]
    torch.testing.assert_close(
        (mixed[:40] - new_mean[0]) / new_spread[0], pattern, rtol=1e-3, atol=1e-3
    )
    never = GeneralisationSettings(kind="mixstyle", probability=0.0)
    assert torch.equal(mixed_bags(rows, offsets, sites, never), rows)


@pytest.mark.parametrize("base", ["cross_entropy", "balanced_sampling", "sc_mil"])
def test_batches_of_what_compares_sites_hold_as_much_of_each(base):
    rng = np.random.default_rng(0)
    sites = rng.choice(3, 120, p=[0.8, 0.15, 0.05])
    labels = rng.choice(3, 120, p=[0.7, 0.2, 0.1])
    labels[:3], sites[:3] = [0, 1, 2], [0, 1, 2]
    items = TrainingItems(labels, sites, np.arange(120))
    plan = batch_plan(method_named(f"{base}+coral"), items, 16, epochs=4, seed=0)
    drawn = np.concatenate([np.concatenate(plan.batches(epoch)) for epoch in range(4)])
    shares = np.bincount(sites[drawn], minlength=3) / len(drawn)
    natural = np.bincount(sites, minlength=3) / 120
    assert shares.min() > max(0.2, 3 * natural.min())


@pytest.mark.parametrize(
    ("sampler", "seen"),
    [
        ({"by": "site", "exponent": 0.0}, "sites"),
        ({"kind": "class_aware", "cross_site": True}, "sites of each class"),
        ({"one_per_patient": True}, "patients"),
    ],
)
def test_the_samplers_of_the_settings_draw_bags(sampler, seen):
    labels = np.tile([0, 0, 0, 1], 24)
    sites = np.repeat([0, 1, 2], [60, 24, 12])
    patients = np.repeat(np.arange(48), 2)
    items = TrainingItems(labels, sites, patients)
    settings = PathologySettings.model_validate({"sampler": sampler}).sampler
    plan = batch_plan(METHODS["cross_entropy"], items, 12, 3, 0, sampler=settings)
    drawn = np.concatenate(plan.batches(0))
    if seen == "patients":
        assert len(drawn) == len(set(patients[drawn])) == 48
    elif seen == "sites":
        shares = np.bincount(sites[drawn]) / len(drawn)
        np.testing.assert_allclose(shares, 1 / 3, atol=0.1)
    else:
        rare = np.bincount(sites[drawn][labels[drawn] == 1], minlength=3)
        assert rare.max() - rare.min() <= 3


@pytest.mark.parametrize(
    "name", ["cross_entropy+group_dro", "sc_mil+fishr", "cross_entropy+mixstyle"]
)
def test_a_killed_run_ends_with_the_same_bits(name, cohort, folder, tmp_path, monkeypatch):
    from offsite.pathology import training

    asked, runs = settings(name, fit={"checkpoint_every_steps": 2}), {}
    for which in ("whole", "killed"):
        monkeypatch.undo()
        path = tmp_path / which
        if which == "killed":
            count, steps = [0], training.ScMil.step

            def dies(self, batch, progress, steps=steps, count=count):
                count[0] += 1
                if count[0] == 11:
                    raise KeyboardInterrupt
                return steps(self, batch, progress)

            monkeypatch.setattr(training.ScMil, "step", dies)
            with pytest.raises(KeyboardInterrupt):
                training.train_pathology(cohort, folder, asked, path)
            monkeypatch.undo()
        training.train_pathology(cohort, folder, asked, path)
        runs[which] = (path / "weights.safetensors").read_bytes()
        assert json.loads((path / "run.json").read_text())["status"] == "done"
    assert runs["whole"] == runs["killed"]


def test_mixup_of_slides_mixes_their_embeddings_and_measures_the_plain_ones():
    general = {"alpha": 1.0, "decoupled": 0.5, "pairs": "adjacent"}
    bags, mil = batch(), model("logit_adjustment+mixup", general)
    torch.manual_seed(3)
    losses = mil.eval().step(bags, 0.2)
    torch.manual_seed(3)
    pairs = draw_pairs(bags.labels, bags.sites, mil.mixing, bags.views)
    embedding = mil(bags).embedding
    logits = mil.classifier(pairs.share * embedding + (1 - pairs.share) * embedding[pairs.partner])
    shifted = logits + mil.classification.counts.log()
    expected = pairs.share * F.cross_entropy(shifted, bags.labels)
    expected = expected + (1 - pairs.share) * F.cross_entropy(shifted, pairs.labels)
    expected = expected + 0.5 * decoupled_term(shifted, bags.labels, pairs.labels)
    torch.testing.assert_close(losses["loss"], expected)
    plain = neural_collapse(embedding, bags.labels, mil.n_classes)
    torch.testing.assert_close(losses["nc1"], plain["nc1"])
    late = model("logit_adjustment+mixup", {**general, "until": 0.0}).eval()
    assert torch.equal(late.step(bags, 0.2)["loss"], model("logit_adjustment").eval().step(bags, 0.2)["loss"])  # fmt: skip

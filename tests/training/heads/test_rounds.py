"""A head learnt in rounds: one linear head, the same for the same seed, and against earlier errors."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import nn

from offsite.training.heads.ridge import RidgeSettings
from offsite.training.heads.rounds import FEWEST, _largest, fit_rounds, standardisation
from offsite.training.heads.rounds_settings import RichSettings

rng = np.random.default_rng(0)
ROWS = rng.normal(size=(260, 12)) * rng.uniform(0.1, 3, 12) + 1
LABELS = (ROWS @ rng.normal(size=(12, 4)) + 2 * rng.normal(size=(260, 4))).argmax(1)
FIT, KEPT = (ROWS[:200], LABELS[:200]), (ROWS[200:], LABELS[200:])


def head(**changed: float):
    settings = RichSettings(**{"passes": 4, **changed})
    return fit_rounds(*FIT, KEPT, settings, n_classes=4, seed=3)


def by_hand(rounds: int, passes: int, batch: int, rate: float, decay: float) -> np.ndarray:
    """Mean logits of all rows by a plain second implementation, a row's group loss at a time."""
    centre, scale = FIT[0].mean(0), FIT[0].std(0)
    scale = np.maximum(scale, 0.1 * np.median(scale))
    seen = torch.tensor((FIT[0] - centre) / scale).float()
    held = torch.tensor((KEPT[0] - centre) / scale).float()
    labels, truth = torch.tensor(FIT[1]), torch.tensor(KEPT[1])
    heads = []
    for number in range(rounds):
        torch.manual_seed(3 + number)
        net = nn.Linear(12, 4)
        step = torch.optim.AdamW(net.parameters(), lr=rate, weight_decay=decay)
        generator = torch.Generator().manual_seed(3 + number)
        best, kept = np.inf, None
        for _ in range(passes):
            order = torch.randperm(200, generator=generator)
            for start in range(0, 200, batch):
                part = order[start : start + batch]
                loss = -torch.log_softmax(net(seen[part]), 1)[range(len(part)), labels[part]]
                means = []
                for earlier in heads:
                    right = earlier(seen[part]).argmax(1) == labels[part]
                    means += [loss[g].mean() for g in (right, ~right) if g.sum() >= FEWEST]
                step.zero_grad()
                (torch.stack(means).max() if means else loss.mean()).backward()
                step.step()
            now = nn.functional.cross_entropy(net(held), truth).item()
            if heads and now < best:
                best, kept = now, [p.detach().clone() for p in net.parameters()]
        if kept is not None:
            for parameter, value in zip(net.parameters(), kept, strict=True):
                parameter.data = value
        heads.append(net)
    everything = torch.tensor((ROWS - centre) / scale).float()
    return torch.stack([net(everything) for net in heads]).mean(0).detach().numpy()


def test_it_is_one_linear_head_equal_to_rounds_written_out():
    found = head(batch_size=32)
    wanted = by_hand(3, 4, 32, 1e-3, 1e-4)
    np.testing.assert_allclose(ROWS @ found.slopes + found.starts, wanted, atol=2e-5)
    assert len(found.losses) == 3
    again = head(batch_size=32)
    np.testing.assert_array_equal(again.slopes, found.slopes)
    np.testing.assert_array_equal(again.starts, found.starts)


def test_a_round_minimises_the_larger_loss_of_the_groups_that_are_large_enough():
    each = torch.arange(12.0)
    few, many = torch.arange(12) >= 12 - FEWEST + 1, torch.arange(12) < 8
    assert float(_largest(each, torch.stack([few, many]))) == float(each[:8].mean())
    large = torch.arange(12) >= 12 - FEWEST
    assert float(_largest(each, torch.stack([large, many]))) == float(each[8:].mean())
    assert float(_largest(each, torch.stack([few]))) == float(each.mean())


def test_without_rows_kept_back_the_last_pass_counts_and_flat_features_stay_finite():
    none = (np.empty((0, 13)), np.empty(0, int))
    flat = np.concatenate([FIT[0], np.ones((200, 1))], axis=1)
    found = fit_rounds(flat, FIT[1], none, RichSettings(passes=2), n_classes=4, seed=0)
    assert np.isfinite(found.slopes).all()
    assert (standardisation(np.ones((5, 3)))[1] == 1).all()


def test_it_is_off_unless_it_is_asked_for():
    assert RidgeSettings().rich is None
    asked = RidgeSettings.model_validate({"rich": {}})
    assert asked.rich == RichSettings()
    with pytest.raises(ValidationError):
        RichSettings(rounds=1)

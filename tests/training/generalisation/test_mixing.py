import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from problem import Points, general
from torch import nn

from offsite.errors import InputError
from offsite.training.generalisation.mixing import (
    MixStyle,
    MixStyleERM,
    attach,
    beta_draws,
    partners,
)


@given(st.lists(st.integers(0, 2), min_size=1, max_size=12))
def test_partners_come_from_another_site_or_at_least_are_another_item(sites):
    sites = torch.tensor(sites)
    found = partners(sites, len(sites), other_site=True)
    for i, j in enumerate(found.tolist()):
        if (sites != sites[i]).any():
            assert sites[i] != sites[j]
        elif len(sites) > 1:
            assert i != j
    anywhere = partners(sites, len(sites), other_site=False)
    assert sorted(anywhere.tolist()) == list(range(len(sites)))


def test_shares_are_beta_distributed():
    torch.manual_seed(0)
    draws = beta_draws(0.2, 20000)
    assert draws.mean().item() == pytest.approx(0.5, abs=0.01)
    assert draws.var().item() == pytest.approx(1 / (4 * 1.4), abs=0.005)  # 1 / (4 (2 a + 1))


@pytest.mark.parametrize("n", [2, 5])  # an odd batch is as good as an even one
def test_mixstyle_gives_each_map_the_mixed_statistics_and_keeps_its_pattern(n):
    torch.manual_seed(1)
    x = torch.randn(n, 3, 6, 6) * torch.rand(n, 3, 1, 1) + torch.randn(n, 3, 1, 1)
    sites = torch.arange(n) % 2
    mixer = MixStyle(1.0, 0.3)
    mixer.attend_to(sites)
    torch.manual_seed(2)
    y = mixer(x)
    torch.manual_seed(2)
    torch.rand(())
    partner = partners(sites, n, other_site=True)
    share = beta_draws(0.3, n).reshape(-1, 1, 1)[:, :, 0]
    deviation, mean = torch.std_mean(x, dim=(2, 3))
    new_deviation, new_mean = torch.std_mean(y, dim=(2, 3))
    torch.testing.assert_close(new_mean, share * mean + (1 - share) * mean[partner])
    wanted = share * deviation + (1 - share) * deviation[partner]
    torch.testing.assert_close(new_deviation, wanted, rtol=1e-3, atol=1e-3)
    pattern = F.instance_norm(x)
    torch.testing.assert_close(F.instance_norm(y), pattern, rtol=1e-2, atol=1e-2)


def test_mixstyle_statistics_are_detached():
    x = torch.randn(4, 2, 5, 5, requires_grad=True)
    mixer = MixStyle(1.0, 0.3)
    torch.manual_seed(2)
    y = mixer(x)
    upstream = torch.randn_like(y)
    y.backward(upstream)
    with torch.no_grad():  # an affine map: its slope, and nothing through mean or deviation
        slope = y.std((2, 3), keepdim=True) / x.std((2, 3), keepdim=True)
    torch.testing.assert_close(x.grad, slope * upstream, rtol=1e-3, atol=1e-4)


def test_mixstyle_leaves_evaluation_and_lone_images_alone():
    x, mixer = torch.randn(4, 2, 5, 5), MixStyle(1.0, 0.3)
    assert torch.equal(mixer(x[:1]), x[:1])
    assert not torch.equal(mixer(x), x)
    mixer.eval()
    assert torch.equal(mixer(x), x)
    assert torch.equal(MixStyle(0.0)(x), x)


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer1 = nn.Conv2d(1, 4, 3)
        self.layer2 = nn.Conv2d(4, 4, 3)

    def forward(self, x):
        return self.layer2(self.layer1(x).relu()).mean((2, 3))


def test_attached_mixers_change_neither_names_nor_inference(tmp_path):
    torch.manual_seed(0)
    plain, x = Small(), torch.randn(6, 1, 8, 8)
    mixed = Small()
    mixed.load_state_dict(plain.state_dict())
    attach(mixed, ["layer1"], MixStyle(1.0, 0.3))
    assert mixed.state_dict().keys() == plain.state_dict().keys()
    assert not torch.equal(mixed(x), plain(x))
    assert torch.equal(mixed.eval()(x), plain(x))
    with pytest.raises(InputError, match="Name some of: layer1, layer2"):
        attach(plain, ["layer9"], MixStyle())
    seen = []
    mixed.style_mixer.attend_to = seen.append
    batch = Points(x, torch.zeros(6, dtype=torch.int64), torch.arange(6) % 2)
    loss = general("erm")().loss
    MixStyleERM(mixed.train(), nn.Linear(4, 3), loss).step(batch, 0.0)
    assert torch.equal(seen[0], batch.sites)
    assert seen[1] is None
    with pytest.raises(InputError) as caught:
        MixStyleERM(plain, nn.Linear(4, 3), loss)
    assert caught.value.code == "no_mixstyle"

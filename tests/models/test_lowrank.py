"""Changes of low rank: nothing at first, the only thing that learns, and merged into plain weights."""

from copy import deepcopy

import torch
from diffusers import UNet2DConditionModel
from torch import nn

from gen.models.lowrank import LowRank, merged_weights, plain, with_low_rank


def network():
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 32, 3, padding=1), nn.GroupNorm(4, 32), nn.Conv2d(32, 32, 3, padding=1), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(32 * 16, 40))


def test_it_starts_as_the_model_it_changes_and_learns_little():
    x = torch.randn(2, 3, 4, 4)
    before = network()
    changed = with_low_rank(network(), 2, whole=("0",))
    torch.testing.assert_close(changed(x), before(x))
    learned = {name for name, parameter in changed.named_parameters() if parameter.requires_grad}
    assert {"0.weight", "0.bias", "1.weight", "2.bias", "2.parametrizations.weight.0.up"} <= learned
    assert not {"2.parametrizations.weight.original", "4.parametrizations.weight.original"} & learned
    small = with_low_rank(network(), 16)
    assert not any(isinstance(layer, LowRank) for layer in small[0].modules())  # 16 (32 + 27) is no saving on 32 x 27


def test_what_is_saved_is_plain_and_of_the_rank():
    x = torch.randn(2, 3, 4, 4)
    changed = with_low_rank(network(), 2, whole=("0",))
    optimizer = torch.optim.SGD([p for p in changed.parameters() if p.requires_grad], lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        changed(x).square().mean().backward()
        optimizer.step()
    start, merged = network(), network()
    merged.load_state_dict(merged_weights(changed))
    torch.testing.assert_close(merged(x), changed(x), atol=1e-5, rtol=1e-4)
    for place in (2, 4):
        change = (merged[place].weight - start[place].weight).detach().flatten(1)
        assert torch.linalg.matrix_rank(change, atol=1e-6) == 2


def test_a_denoiser_is_merged_and_its_original_goes_on():
    unet = UNet2DConditionModel(
        sample_size=8, in_channels=4, out_channels=4, block_out_channels=(32,), layers_per_block=1, norm_num_groups=8,
        down_block_types=("DownBlock2D",), up_block_types=("UpBlock2D",), mid_block_type=None, cross_attention_dim=8,
    )  # fmt: skip
    changed = with_low_rank(unet, 2)
    averaged = deepcopy(changed)  # as the engine keeps one
    for layer in changed.modules():
        if isinstance(layer, LowRank):
            torch.nn.init.normal_(layer.up, std=0.1)
    given = torch.randn(1, 4, 8, 8), 5, torch.randn(1, 2, 8)
    merged = plain(changed)
    assert not any(isinstance(layer, LowRank) for layer in merged.modules())
    torch.testing.assert_close(merged(*given).sample, changed(*given).sample, atol=1e-5, rtol=1e-4)
    assert (averaged(*given).sample - merged(*given).sample).abs().max() > 1e-3
    assert plain(merged) is merged

"""Memory by counting: against hand-computed networks, real tensors and the recipes."""

from pathlib import Path

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.checkpoint import checkpoint

from gen.config import load_config
from gen.engine import accounting
from gen.engine.accounting import Account, account
from gen.engine.peak import Curve, PeakBytes
from gen.errors import UserError
from gen.schema import LatentJob

CONFIGS = Path(__file__).parents[2] / "configs"
FLOAT = 4


def network():
    return nn.Sequential(nn.Linear(16, 64, bias=False), nn.Sigmoid(), nn.Linear(64, 16, bias=False))


def forward_and_backward(model, batch):
    """Bytes that live after the forward pass, and the peak."""
    x = torch.zeros(batch, 16)
    with PeakBytes(model) as counted:
        loss = model(x).sum()
        forward = counted.live
        loss.backward()
    return forward, counted.peak


@pytest.mark.parametrize("batch", [1, 10, 100])
def test_a_network_counted_by_hand(batch):
    """Sigmoid and second layer keep one tensor, the sigmoid's output; nothing else outlives the forward pass.

    Backwards, the most is held either at the sigmoid (its output, the gradients before and behind it, one gradient of
    weights) or at the end (the gradient behind it, both gradients of weights); besides, the loss and its gradient.
    """
    forward, peak = forward_and_backward(network(), batch)
    hidden, weights, loss = 64 * batch * FLOAT, 16 * 64 * FLOAT, FLOAT
    assert forward == hidden + loss
    assert peak == max(3 * hidden + weights, hidden + 2 * weights) + 2 * loss


def test_storage_is_counted_once_and_until_it_is_gone():
    with PeakBytes() as counted:
        a = torch.zeros(1000)
        b = a[10:20].view(2, 5)
        c = a + 1
        assert counted.live == 2 * 4000
        del a, c
        assert counted.live == 4000  # its view holds the storage
        del b
        assert counted.live == 0
        torch.zeros(10)
    assert counted.peak == 8000


def test_tensors_without_storage_count_like_real_ones():
    real = forward_and_backward(network(), 7)
    with FakeTensorMode():
        fake = forward_and_backward(network(), 7)
    assert fake == real


def test_checkpointing_keeps_what_goes_into_a_block_and_computes_the_rest_again():
    blocks = [network() for _ in range(6)]
    whole = nn.ModuleList(blocks)

    def passing(x, checkpointed):
        for block in blocks:
            x = checkpoint(block, x, use_reentrant=False) if checkpointed else block(x)
        return x

    kept = {}
    for checkpointed in (False, True):
        x = torch.zeros(50, 16, requires_grad=True)
        with PeakBytes(whole) as counted:
            loss = passing(x, checkpointed).sum()
            kept[checkpointed] = counted.live
            loss.backward()
    between, hidden = 50 * 16 * FLOAT, 50 * 64 * FLOAT
    assert kept[False] == 6 * hidden + 5 * between + FLOAT
    assert abs(kept[True] - 5 * between) <= 100  # and a few numbers of the generators' states


def test_a_curve_is_straight_between_points_and_beyond():
    curve = Curve(((1, 100), (4, 160), (32, 1000)))
    assert [curve.at(batch) for batch in (1, 2, 4, 18, 32, 60)] == [100, 120, 160, 580, 1000, 1840]
    assert [curve.largest(budget) for budget in (90, 100, 119, 160, 1000, 1031)] == [0, 1, 1, 4, 32, 33]
    assert curve.largest(1000, share=4) == 8


@pytest.fixture(scope="module")
def small():
    overrides = ["text.model=null", "text.layers=1", "denoiser.block_out_channels=[32,32,64]"]
    return [
        load_config(LatentJob, CONFIGS / "text_256.yaml", [*overrides, f"data.resolution={px}"]) for px in (128, 256)
    ]


@pytest.fixture(scope="module")
def counted_small(small):
    return account(small[0])


def test_the_parts_of_a_small_recipe(counted_small):
    counted = counted_small
    assert counted.weights > counted.averages > counted.gradients > 0
    assert counted.optimizer["adamw"] == 2 * counted.gradients
    assert 0.25 < counted.optimizer["adamw8bit"] / counted.optimizer["adamw"] < 0.5
    assert counted.sampling_weights == pytest.approx(counted.weights / 2, rel=0.01)
    assert counted.activations[True].at(32) < 0.6 * counted.activations[False].at(32)
    assert "counted as the shipped one" in counted.notes[0]
    whole = counted.training(16, True, "adamw8bit")
    assert whole < counted.training(16, False, "adamw8bit") < counted.training(16, False, "adamw")
    assert (
        counted.largest_training(8 * 2**30, 128, False, "adamw")
        > 0
        == counted.largest_training(2**30 // 2, 128, False, "adamw")
    )
    assert counted.largest_sampling(8 * 2**30, 128) <= counted.largest_sampling(8 * 2**30, 128, low_memory=True)


@pytest.mark.slow
def test_memory_goes_with_the_positions(small, counted_small):
    """One measured side speaks for the others, within a quarter."""
    first, second = counted_small, account(small[1])
    for checkpointing in (False, True):
        ours, theirs = first.activations[checkpointing].at(4 * 32), second.activations[checkpointing].at(32)
        assert ours == pytest.approx(theirs, rel=0.25)  # attention grows faster, what goes with a sample alone does not
    assert first.decoding.at(4 * 32) == pytest.approx(second.decoding.at(32), rel=0.05)


@pytest.mark.slow
def test_the_recipe_for_eight_gigabytes_fits_there(monkeypatch):
    monkeypatch.setattr(accounting, "BATCHES", (1, 32))  # a curve of fewer points lies higher, and costs less
    job = load_config(LatentJob, CONFIGS / "text_512_8gb.yaml")
    counted: Account = account(job)
    checkpointing, optimizer = job.denoiser.gradient_checkpointing, job.train.optimizer
    assert counted.largest_training(8 * 2**30, job.data.resolution, checkpointing, optimizer) >= job.train.batch_size
    assert counted.largest_training(8 * 2**30, 512, False, "adamw") < job.train.batch_size


def test_other_tasks_are_refused_plainly():
    with pytest.raises(UserError, match="task.name=bone: memory is counted for task text"):
        account(load_config(LatentJob, CONFIGS / "bone_256.yaml"))

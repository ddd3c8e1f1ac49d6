"""AdamW with moments of 32 and of 8 bits."""

import copy
import sys

import pytest
import torch
from torch import nn

from gen.engine.accounting import _quantised
from gen.engine.optimizers import build_optimizer, set_rate
from gen.errors import UserError
from gen.schema import TrainConfig


def config(optimizer):
    return TrainConfig(steps=4, batch_size=2, learning_rate=1e-3, lr_schedule="constant", optimizer=optimizer)


def train(model, optimizer, steps, first=0):
    for step in range(first, first + steps):
        set_rate(optimizer, 1e-3 * (1 + step))
        x = torch.randn(8, 64, generator=torch.Generator().manual_seed(step))
        (model(x) - x.roll(1, 1)).square().mean().backward()
        with torch.compiler.set_stance("force_eager"):  # to compile the step takes a minute here
            optimizer.step()
        optimizer.zero_grad()


def built(name):
    torch.manual_seed(0)
    model = nn.Linear(64, 64)
    return model, build_optimizer(model.parameters(), config(name))


def test_a_missing_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchao.optim", None)
    with pytest.raises(UserError, match=r"train.optimizer=adamw8bit: .*pip install 'cxr-gen\[low-memory\]'"):
        built("adamw8bit")


def test_the_rate_is_that_of_the_step():
    model, optimizer = built("adamw")
    assert type(optimizer) is torch.optim.AdamW
    train(model, optimizer, 2)
    assert optimizer.param_groups[0]["lr"] == 2e-3


def test_moments_of_a_byte_train_alike_in_a_quarter_of_the_bytes():
    pytest.importorskip("torchao")
    models = {}
    for name in ("adamw", "adamw8bit"):
        model, optimizer = built(name)
        start = model.weight.detach().clone()
        train(model, optimizer, 4)
        models[name] = model.weight.detach() - start
    assert float(optimizer.param_groups[0]["lr"]) == pytest.approx(4e-3)
    error = (models["adamw8bit"] - models["adamw"]).norm() / models["adamw"].norm()
    assert 0 < error < 0.1
    moment = optimizer.state[model.weight]["exp_avg"]
    held = sum(part.numel() * part.element_size() for part in (moment.codes, moment.scale, moment.qmap))
    assert held == _quantised(model.weight) == 4096 + 4 * 16 + 4 * 256
    assert optimizer.state[model.bias]["exp_avg"].dtype == torch.float32 and _quantised(model.bias) == 4 * 64


def test_moments_of_a_byte_go_on_from_a_file(tmp_path):
    pytest.importorskip("torchao")
    model, optimizer = built("adamw8bit")
    train(model, optimizer, 2)
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, tmp_path / "state.pt")
    train(model, optimizer, 2, first=2)
    resumed, other = built("adamw8bit")
    saved = torch.load(tmp_path / "state.pt")
    resumed.load_state_dict(saved["model"])
    other.load_state_dict(saved["optimizer"])
    train(resumed, other, 2, first=2)
    assert torch.equal(resumed.weight, model.weight)


def test_a_run_with_moments_of_a_byte_resumes_as_it_was(make_loop):
    pytest.importorskip("torchao")
    with torch.compiler.set_stance("force_eager"):
        straight = make_loop("straight", optimizer="adamw8bit", steps=4, checkpoint_every=2)
        straight.train()
        first = make_loop("killed", optimizer="adamw8bit", steps=4, checkpoint_every=2)
        batches = iter(first.learner.batches(0, 1, 0))
        for _ in range(2):
            first.step(batches)
            first.progress["step"] += 1
        first._save()
        resumed = make_loop("killed", optimizer="adamw8bit", steps=4, checkpoint_every=2)
        assert resumed.progress["step"] == 2
        resumed.train()
    ends = [copy.deepcopy(loop.learner.trained.state_dict()) for loop in (straight, resumed)]
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])

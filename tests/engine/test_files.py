"""What a run leaves on disk: metrics, averages, exports."""

import json

import pytest
import torch
from torch import nn

from gen.engine import metrics
from gen.engine.checkpoint import replace_folder
from gen.engine.ema import EMA


def test_rewind_drops_later_and_broken_lines(tmp_path):
    path = tmp_path / "metrics.jsonl"
    for line in ({"step": 1, "loss": 3.0}, {"step": 2, "loss": 2.0}, {"step": 2, "validation": {"psnr": 30.0}}):
        metrics.append(path, line)
    metrics.append(path, {"step": 3, "loss": 1.0})
    with open(path, "a") as file:
        file.write('{"step": 4, "validation": {"psnr": 31.0}')  # cut off in the middle, though it ends in a brace
    assert metrics.rewind(path, 2) == {"psnr": 30.0}
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [1, 2, 2]
    assert metrics.rewind(path, 1) is None
    assert metrics.rewind(tmp_path / "none.jsonl", 1) is None


def test_flat_configs_hold_numbers_and_text_only():
    values = {"run": "a", "data": {"size": 3, "moments": None}, "train": {"betas": [0.9, 0.99], "minutes": 1.5}}
    assert metrics.flat(values) == {
        "run": "a",
        "data.size": 3,
        "data.moments": "None",
        "train.betas": "[0.9, 0.99]",
        "train.minutes": 1.5,
    }


def test_average_warms_up_to_its_decay():
    """Weights 1, 2, 3, ... averaged by hand with min(decay, (1 + n) / (10 + n))."""
    module = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(module.weight)
    average, expected = EMA(module, 0.3), 0.0
    for count in range(12):
        nn.init.constant_(module.weight, count + 1.0)
        average.update_parameters(module)
        decay = min(0.3, (1 + count) / (10 + count))
        expected = decay * expected + (1 - decay) * (count + 1)
        assert average.module.weight.item() == pytest.approx(expected, rel=1e-5)
    assert int(average.n_averaged) == 12


def test_average_goes_on_where_it_was_loaded():
    module = nn.BatchNorm1d(2)
    first, second = EMA(module, 0.9), EMA(module, 0.9)
    for _ in range(3):
        nn.init.normal_(module.weight)
        module(torch.randn(4, 2))
        first.update_parameters(module)
    second.load_state_dict(first.state_dict())
    nn.init.normal_(module.weight)
    for average in (first, second):
        average.update_parameters(module)
    assert torch.equal(first.module.weight, second.module.weight)
    assert torch.equal(first.module.running_mean, module.running_mean)


def test_a_failed_export_leaves_the_old_one(tmp_path):
    final = tmp_path / "export"
    replace_folder(final, lambda folder: (folder / "a.txt").write_text("old") and None)

    def fail(folder):
        (folder / "a.txt").write_text("half of the new")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        replace_folder(final, fail)
    assert (final / "a.txt").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["export"]
    replace_folder(final, lambda folder: (folder / "b.txt").write_text("new") and None)
    assert [path.name for path in final.iterdir()] == ["b.txt"]

"""Weights in parts over two processes: the same training as with a copy on each, states and exports like any other."""

import json
import socket
from pathlib import Path

import pytest
import yaml
from safetensors.torch import load_file
from torch import nn

from gen.engine.checkpoint import states
from gen.engine.placement import same_layout
from gen.engine.sharding import blocks
from gen.errors import UserError
from gen.pipeline import CXRPipeline
from gen.schema import TrainConfig

ROOT = Path(__file__).parents[2]


@pytest.fixture
def launched(run_job):
    """Run a job on two processes and give its losses."""

    def launch(script, config, run, *overrides):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        command = ["-m", "accelerate.commands.launch", "--config_file", ROOT / "configs" / "accelerate" / "cpu2.yaml"]
        job = [ROOT / "tests" / "train" / "leaving_nothing.py", script, config, f"run={run}", *overrides]
        result = run_job(*command, "--main_process_port", port, *job)
        assert result.returncode == 0, result.stderr[-3000:]
        lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        return [line["loss"] for line in lines if "loss" in line]

    return launch


def drawn_weights(run):
    return {
        f"{path.parent.name}.{name}": value
        for path in sorted((run / "export").rglob("*.safetensors"))
        for name, value in load_file(path).items()
    }


def distance(first, second):
    """Relative, of all weights: biases before a norm have rounding errors for gradients, which Adam enlarges."""
    assert first.keys() == second.keys()
    apart = sum((second[name].double() - value.double()).square().sum() for name, value in first.items())
    return float((apart / sum(value.double().square().sum() for value in first.values())).sqrt())


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_parts_train_as_copies_do(world, tmp_path, launched, monkeypatch):
    sizes = ["train.steps=4", "train.batch_size=2", "train.accumulation=2", "train.checkpoint_every=2"]
    copies = launched("ldm.py", world / "text.yaml", tmp_path / "copies", *sizes)
    monkeypatch.setenv("STOP_AT", "2")
    stopped = launched("ldm.py", world / "text.yaml", tmp_path / "parts", *sizes, "train.sharded=true")
    assert len(stopped) == 3 and not (tmp_path / "parts" / "export").exists()
    monkeypatch.delenv("STOP_AT")
    parts = launched("ldm.py", world / "text.yaml", tmp_path / "parts", *sizes, "train.sharded=true")
    assert len(parts) == 4 and parts[:3] == stopped and parts == pytest.approx(copies, rel=1e-5)
    assert distance(drawn_weights(tmp_path / "copies"), drawn_weights(tmp_path / "parts")) < 1e-3
    whole, state = (load_file(states(tmp_path / run)[-1] / "model.safetensors") for run in ("copies", "parts"))
    assert distance(whole, state) < 1e-3  # saved as if one process had held it all


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_student_and_its_teachers_in_parts(world, tiny_pipeline_dir, tmp_path, launched):
    data = {"index": str(world / "index.csv"), "resolution": 32}
    train = {"steps": 3, "batch_size": 2, "learning_rate": 3e-3, "lr_schedule": "constant", "log_every": 1}
    values = {"run": "given below", "data": data, "teacher": str(tiny_pipeline_dir), "train": train}
    steps = {"grid": 4, "solver": "midpoint", "guidance": [1.0, 3.0], "guidance_channels": 8, "target_decay": 0.5}
    (tmp_path / "lcm.yaml").write_text(yaml.safe_dump({**values, "consistency": steps}))
    copies = launched("lcm.py", tmp_path / "lcm.yaml", tmp_path / "copies")
    parts = launched("lcm.py", tmp_path / "lcm.yaml", tmp_path / "parts", "train.sharded=true")
    assert parts == pytest.approx(copies, rel=1e-5)
    assert distance(drawn_weights(tmp_path / "copies"), drawn_weights(tmp_path / "parts")) < 1e-3
    assert len(CXRPipeline.from_pretrained(tmp_path / "parts" / "export")("", progress=False).images) == 1


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_what_learns_beside_a_frozen_text_encoder(world, tmp_path, launched):
    """A conditioner that has no blocks; and in half precision, where weights are gathered as such."""
    sizes = ["task.name=view", "text.trainable=false", "train.steps=3", "train.batch_size=2"]
    copies = launched("ldm.py", world / "text.yaml", tmp_path / "copies", *sizes)
    parts = launched("ldm.py", world / "text.yaml", tmp_path / "parts", *sizes, "train.sharded=true")
    assert parts == pytest.approx(copies, rel=1e-5)
    assert distance(drawn_weights(tmp_path / "copies"), drawn_weights(tmp_path / "parts")) < 1e-3
    half = [*sizes, "train.sharded=true", "train.mixed_precision=bf16"]
    assert launched("ldm.py", world / "text.yaml", tmp_path / "half", *half) == pytest.approx(copies, rel=0.03)


def test_states_of_another_placement_are_no_damage(tmp_path):
    (tmp_path / "optimizer.bin").touch()
    same_layout(tmp_path, "optimizer.safetensors")
    with pytest.raises(UserError, match="by one process than by several; start as many again"):
        same_layout(tmp_path, "optimizer.bin")
    (tmp_path / "custom_checkpoint_0.pkl").touch()
    with pytest.raises(UserError, match="saved by an earlier version.*choose another run="):
        same_layout(tmp_path, "optimizer.safetensors")


def test_blocks_are_the_members_of_the_outermost_lists():
    inner = nn.ModuleList([nn.Linear(1, 1)])
    network = nn.Sequential(
        nn.ModuleDict({"a": nn.ModuleList([nn.Sequential(inner), nn.Linear(2, 2)])}), nn.Linear(3, 3)
    )
    assert blocks(network) == list(network[0]["a"])


def test_moments_of_eight_bits_are_refused():
    with pytest.raises(ValueError, match="sharded: parts of moments of 8 bits"):
        TrainConfig(steps=1, batch_size=1, learning_rate=1, lr_schedule="constant", sharded=True, optimizer="adamw8bit")

"""The loop: what it computes, how it resumes, how it stops."""

import json
import math
import os
import resource
import signal
import subprocess
import sys
import time

import pytest
import torch
from safetensors.torch import load_file
from tqdm import tqdm

from gen.engine.checkpoint import states
from gen.engine.loop import learning_rate
from gen.errors import UserError
from gen.schema import TrainConfig


def lines(loop, kind="loss"):
    found = [json.loads(line) for line in (loop.run / "metrics.jsonl").read_text().splitlines()]
    return [line for line in found if kind in line]


def weights(loop):
    return {name: value.clone() for name, value in loop.learner.trained.state_dict().items()}


def assert_same(first, second):
    assert first.keys() == second.keys()
    for name in first:
        assert torch.equal(first[name], second[name]), name


def train_until(loop, step):
    """Leave a run as a kill would: in the middle of it, after `step` steps."""
    batches = iter(loop.learner.batches(0, 1, loop.progress["step"] * loop.config.accumulation))
    while loop.progress["step"] < step:
        losses = loop.step(batches)
        loop.progress["step"] += 1
        loop._log(losses, tqdm(disable=True))
        if loop.progress["step"] % loop.config.checkpoint_every == 0:
            loop._save()


def test_a_killed_run_ends_like_an_unbroken_one(make_loop):
    straight = make_loop("straight")
    export = straight.train()
    train_until(make_loop("killed"), 8)
    resumed = make_loop("killed")
    assert resumed.progress["step"] == 5
    assert_same(load_file(export / "line.safetensors"), load_file(resumed.train() / "line.safetensors"))
    assert_same(weights(straight), weights(resumed))
    assert [line["step"] for line in lines(resumed)] == list(range(1, 11))
    assert [line["loss"] for line in lines(resumed)] == [line["loss"] for line in lines(straight)]


def test_noise_is_drawn_anew_every_step_and_follows_the_seed(make_loop):
    """With the weights standing still the loss of the same points changes from step to step, and with the seed."""
    frozen = {"learning_rate": 1e-12, "weight_decay": 0.0, "batch_size": 16, "steps": 4}
    runs = [make_loop(name, seed=seed, **frozen) for name, seed in [("a", 0), ("b", 0), ("c", 1)]]
    for loop in runs:
        loop.train()
    losses = [[line["loss"] for line in lines(loop)] for loop in runs]
    assert losses[0] == losses[1] and losses[0] != losses[2]
    assert len(set(losses[0])) == 4


def test_two_half_batches_are_one_batch(make_loop):
    whole = make_loop("whole", noise=0.0, batch_size=8, steps=6)
    halves = make_loop("halves", noise=0.0, batch_size=4, accumulation=2, steps=6)
    whole.train()
    halves.train()
    seen = halves.learner.seen
    assert [a + b for a, b in zip(seen[::2], seen[1::2], strict=True)] == whole.learner.seen
    assert sorted(whole.learner.seen[0] + whole.learner.seen[1]) == list(range(16))  # two steps are an epoch
    for a, b in zip(weights(whole).values(), weights(halves).values(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-5)
    for a, b in zip(lines(whole), lines(halves), strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-4)
        assert a["grad_norm"] == pytest.approx(b["grad_norm"], rel=1e-4)


def test_accumulation_resumes_at_the_right_batch(make_loop):
    straight = make_loop("straight", accumulation=2)
    straight.train()
    train_until(make_loop("killed", accumulation=2), 6)
    resumed = make_loop("killed", accumulation=2)
    resumed.train()
    assert resumed.learner.seen == straight.learner.seen[10:]
    assert_same(weights(straight), weights(resumed))


def test_one_step_is_adam_on_the_clipped_gradient(make_loop):
    """The first AdamW step by hand: w (1 - lr decay) - lr g / (|g| + eps), g being clipped to the norm limit."""
    loop = make_loop(noise=0.0, clip_norm=1e-3, weight_decay=0.1, steps=1)
    before = weights(loop)
    batch = next(iter(loop.learner.batches(0, 1, 0)))
    leaves = {name: value.clone().requires_grad_() for name, value in before.items()}
    output = batch["x"] @ leaves["line.weight"].T + leaves["line.bias"]
    (output[:, 0] - batch["x"].sum(1)).square().mean().backward()
    norm = torch.cat([leaf.grad.flatten() for leaf in leaves.values()]).norm()
    loop.train()
    assert lines(loop)[0]["grad_norm"] == pytest.approx(norm.item(), rel=1e-5)
    for name, leaf in leaves.items():
        gradient = leaf.grad * 1e-3 / norm
        expected = before[name] * (1 - 0.05 * 0.1) - 0.05 * gradient / (gradient.abs() + 1e-8)
        torch.testing.assert_close(weights(loop)[name], expected, rtol=1e-4, atol=1e-5)


def test_losses_with_an_underscore_are_only_shown(make_loop):
    loop = make_loop(steps=1)
    loop.train()
    (line,) = lines(loop)
    assert line["loss"] == line["error"] and line["_figure"] > 1000


def test_learning_rate_follows_its_closed_form():
    values = {"steps": 100, "batch_size": 1, "learning_rate": 0.2, "warmup_steps": 10}
    cosine = TrainConfig(**values, lr_schedule="cosine")
    constant = TrainConfig(**values, lr_schedule="constant")
    assert [learning_rate(constant, step, step / 100) for step in (0, 4, 9, 50, 99)] == pytest.approx(
        [0.02, 0.1, 0.2, 0.2, 0.2]
    )
    assert learning_rate(cosine, 50, 0.5) == pytest.approx(0.1)
    assert learning_rate(cosine, 25, 0.25) == pytest.approx(0.2 * (1 + math.cos(math.pi / 4)) / 2)
    assert learning_rate(cosine, 100, 1.0) == learning_rate(cosine, 100, 3.0) == pytest.approx(0)


def test_the_logged_rate_is_the_one_that_was_used(make_loop):
    loop = make_loop(lr_schedule="cosine", warmup_steps=2, steps=4)
    loop.train()
    expected = [learning_rate(loop.config, step, step / 4) for step in range(4)]
    assert [line["lr"] for line in lines(loop)] == pytest.approx(expected)


def test_a_time_limit_ends_the_run(make_loop):
    loop = make_loop(minutes=1e-9, steps=1000)
    loop.train()
    assert loop.progress["step"] == 1
    assert (loop.run / "export" / "line.safetensors").is_file()


def test_averaged_weights_are_exported(make_loop):
    loop = make_loop(ema_decay=0.5, steps=3, noise=0.0)
    averages = weights(loop)
    batches = iter(loop.learner.batches(0, 1, 0))
    for count in range(3):
        loop.step(batches)
        decay = min(0.5, (1 + count) / (10 + count))
        averages = {name: decay * averages[name] + (1 - decay) * now for name, now in weights(loop).items()}
    for name, value in loop.placed.averaged().state_dict().items():
        torch.testing.assert_close(value, averages[name], rtol=1e-5, atol=1e-6)
    loop._finish()
    exported = load_file(loop.run / "export" / "line.safetensors")
    assert_same(exported, dict(loop.placed.averaged().state_dict()))
    assert any(not torch.equal(exported[name], value) for name, value in weights(loop).items())


def test_validation_runs_on_time_and_once_a_step(make_loop):
    loop = make_loop(validate_every=5)
    loop.train()
    assert [line["step"] for line in lines(loop, "validation")] == [5, 10]
    assert loop.learner.validations == 2
    again = make_loop(validate_every=5)
    again.train()
    assert again.learner.seen == [] and again.learner.validations == 0  # nothing is left to do
    assert [line["step"] for line in lines(again, "validation")] == [5, 10]
    assert [line["step"] for line in lines(again)] == list(range(1, 11))
    summary = json.loads((loop.run / "export" / "run.json").read_text())
    assert summary["step"] == 10 and summary["figures"] == lines(loop, "validation")[-1]["validation"]


def test_only_the_last_two_states_stay_and_unfinished_ones_do_not_count(make_loop):
    loop = make_loop(checkpoint_every=2)
    loop.train()
    assert [path.name for path in states(loop.run)] == ["step-8", "step-10"]
    (loop.run / "state" / "step-12").mkdir()
    (loop.run / "state" / "partial-14").mkdir()
    assert [path.name for path in states(loop.run)] == ["step-8", "step-10"]
    assert make_loop(checkpoint_every=2).progress["step"] == 10


def test_another_training_in_the_same_folder_is_refused(make_loop):
    train_until(make_loop(), 5)
    with pytest.raises(UserError, match="learning_rate.*choose another run="):
        make_loop(learning_rate=0.01)
    make_loop(log_every=5, checkpoint_every=7)  # does not change what is trained


def test_a_folder_that_another_process_trains_into_is_refused(make_loop):
    run = make_loop(steps=1).run
    (run / ".lock").unlink()
    hold = (
        "import fcntl, sys; file = open(sys.argv[1], 'w'); fcntl.lockf(file, fcntl.LOCK_EX); print(flush=True); input()"
    )
    command = [sys.executable, "-c", hold, str(run / ".lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        with pytest.raises(UserError, match="another process is training here"):
            make_loop(steps=1)
        other.kill()
    assert make_loop(steps=1).run == run


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_ends_cleanly(make_loop, sent):
    straight = make_loop("straight")
    straight.train()
    loop = make_loop("stopped")
    inner, calls = loop.learner.forward, []

    def forward(batch):
        calls.append(batch)
        if len(calls) == 3:
            os.kill(os.getpid(), sent)
        return inner(batch)

    loop.learner.forward = forward
    before = signal.getsignal(sent)
    with pytest.raises(SystemExit) as end:
        loop.train()
    assert end.value.code == 0
    assert signal.getsignal(sent) is before
    assert [path.name for path in states(loop.run)] == ["step-3"]
    resumed = make_loop("stopped")
    resumed.train()
    assert_same(weights(straight), weights(resumed))


def test_a_loss_that_is_no_number_stops_and_names_the_images(make_loop):
    loop = make_loop(checkpoint_every=1)
    order = [batch["key"] for batch, _ in zip(loop.learner.batches(0, 1, 0), range(3), strict=False)]
    loop.learner.points[order[2][1]] = float("nan")
    with pytest.raises(UserError, match="not finite") as error:
        loop.train()
    assert f"batch {', '.join(map(str, order[2]))}" in str(error.value)
    assert [path.name for path in states(loop.run)] == ["step-1", "step-2"]  # the poisoned step was not saved
    saved = load_file(states(loop.run)[-1] / "model.safetensors")
    assert all(torch.isfinite(value).all() for value in saved.values())


def test_a_gradient_that_is_no_number_is_never_saved(make_loop, monkeypatch):
    """The square root at zero: a loss of 0 whose slope is infinite."""
    loop = make_loop(checkpoint_every=1)
    train_until(loop, 2)
    plain = loop.learner.forward

    def steep(batch):
        losses = plain(batch)
        return {"error": (losses["error"] * 0).sqrt()}

    monkeypatch.setattr(loop.learner, "forward", steep)
    with pytest.raises(UserError, match="loss or gradient is not finite at step 3"):
        loop.train()
    assert [path.name for path in states(loop.run)][-1] == "step-2"
    saved = load_file(states(loop.run)[-1] / "model.safetensors")
    assert all(torch.isfinite(value).all() for value in saved.values())


@pytest.mark.parametrize("limit", [64, 1000])
def test_a_failed_save_keeps_the_state_before(make_loop, limit):
    """A limit on file sizes makes the system refuse the write: of the weights, or of the optimizer after them."""
    loop = make_loop()
    train_until(loop, 5)
    loop.step(iter(loop.learner.batches(0, 1, 5)))
    loop.progress["step"] = 6
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        with pytest.raises(UserError, match="step-6: cannot save the state"):
            loop._save()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    assert [path.name for path in (loop.run / "state").iterdir()] == ["step-5"]
    assert make_loop().progress["step"] == 5


def test_other_training_images_are_refused_on_resume(make_loop, monkeypatch):
    loop = make_loop()
    train_until(loop, 5)
    monkeypatch.setattr(type(loop.learner), "data_fingerprint", lambda _: "others")
    with pytest.raises(UserError, match="not those it began with; restore the index"):
        make_loop()


def test_half_precision_trains_too(make_loop):
    loop = make_loop(mixed_precision="bf16", steps=3)
    loop.train()
    first = next(iter(weights(loop).values()))
    assert first.dtype == torch.float32 and torch.isfinite(first).all()


def test_tracker_wandb_works_offline(make_loop, monkeypatch, tmp_path):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    make_loop(trackers=["wandb"], steps=2).train()
    (written,) = tmp_path.rglob("run-*.wandb")
    patience = time.monotonic() + 60  # another process writes it
    while b"learning_rate" not in written.read_bytes() and time.monotonic() < patience:
        time.sleep(0.2)
    assert b"learning_rate" in written.read_bytes()


def test_tracker_tensorboard_gets_config_and_figures(make_loop):
    pytest.importorskip("tensorboard")
    loop = make_loop(trackers=["tensorboard"], steps=2)
    loop.train()
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = next(path.parent for path in loop.run.rglob("events.out.tfevents.*") if path.parent.name == "cxr-gen")
    events = EventAccumulator(str(folder)).Reload()
    assert [scalar.step for scalar in events.Scalars("loss")] == [1, 2]

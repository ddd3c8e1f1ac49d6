"""A run that ends early, with the weights of its last good validation."""

import json
from itertools import pairwise

import pytest
from safetensors.torch import load_file

from gen.errors import UserError


@pytest.fixture
def slopes(make_loop):
    """Of the averaged weights at each validation of a run that is not ended; they rise."""
    loop = make_loop("straight", noise=0.0, validate_every=2, ema_decay=0.5)
    loop.train()
    lines = [json.loads(line) for line in (loop.run / "metrics.jsonl").read_text().splitlines()]
    found = [line["validation"]["slope"] for line in lines if "validation" in line]
    assert len(found) == 5 and all(a < b for a, b in pairwise(found))
    return found


@pytest.fixture
def ended(make_loop, slopes):
    """Make a run of the same that is to end at its third validation."""

    def make(run):
        between = (slopes[1] + slopes[2]) / 2
        return make_loop(run, noise=0.0, validate_every=2, ema_decay=0.5, checkpoint_every=1, steepest=between)

    return make


def exported(loop):
    return load_file(loop.run / "export" / "line.safetensors")["line.weight"].mean().item()


def test_weights_of_before_are_exported(ended, slopes, capsys):
    loop = ended("early")
    loop.train()
    assert loop.progress["step"] == 6 and exported(loop) == slopes[1]
    assert "too steep at step 6: ended early, with the weights of step 4" in capsys.readouterr().out
    summary = json.loads((loop.run / "export" / "run.json").read_text())
    assert summary["figures"] == {"slope": slopes[1]} and summary["step"] == 6


def test_the_same_command_again_has_nothing_left_to_do(ended, slopes):
    ended("early").train()
    again = ended("early")
    again.train()
    assert again.learner.seen == [] and exported(again) == slopes[1]


def test_a_killed_run_ends_in_the_same_place(ended, slopes):
    killed = ended("early")
    killed._advance = stopping_at(5, killed._advance, killed)
    with pytest.raises(KeyboardInterrupt):
        killed.train()
    resumed = ended("early")
    assert resumed.progress["step"] == 5
    resumed.train()
    assert resumed.progress["step"] == 6 and exported(resumed) == slopes[1]


def stopping_at(step, advance, loop):
    def stopping(*arguments):
        if loop.progress["step"] == step:
            raise KeyboardInterrupt
        advance(*arguments)

    return stopping


def test_a_run_that_was_never_good_exports_nothing(make_loop, slopes):
    loop = make_loop("early", noise=0.0, validate_every=2, ema_decay=0.5, steepest=slopes[0] - 0.01)
    with pytest.raises(UserError, match="too steep at the first validation; train on more images, or validate sooner"):
        loop.train()
    assert not (loop.run / "export").exists()

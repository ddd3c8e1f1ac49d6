"""Features are computed once for the same bytes, by any number of processes, in the order of the rows."""

import numpy as np
import pytest
from PIL import Image

from gen.errors import UserError
from gen.eval.evaluation import Options, prepare
from gen.eval.features import read_pixels


def counted(context, monkeypatch):
    """Counts the images that the network is shown."""
    seen = []
    forward = context.network.forward
    monkeypatch.setattr(context.network, "forward", lambda x: (seen.append(len(x)), forward(x))[1])
    return seen


def test_second_run_reads_the_cache(world, tmp_path, monkeypatch):
    options = Options(world[0], world[1], tmp_path / "out", networks=("random",))
    first = prepare(options)[0]
    features = first.features(first.reference)
    assert features.shape == (60, first.network.module(first.network.prepared(_zeros(first))).shape[1])
    second = prepare(options)[0]
    seen = counted(second, monkeypatch)
    assert np.array_equal(second.features(second.reference), features)
    assert sum(seen) == 0
    second.features(second.train)
    assert sum(seen) == 90


def _zeros(context):
    import torch

    return torch.zeros(1, 1, context.network.side, context.network.side)


def test_rows_keep_their_order_and_a_subset_costs_nothing(context, monkeypatch):
    features = context.features(context.synthetic)
    seen = counted(context, monkeypatch)
    order = np.random.default_rng(0).permutation(60)
    assert np.array_equal(context.features(context.synthetic.iloc[order]), features[order])
    assert sum(seen) == 0


def test_other_bytes_are_computed_anew(copied_world, tmp_path, monkeypatch):
    options = Options(*copied_world, tmp_path / "out", networks=("random",))
    context = prepare(options)[0]
    before = context.features(context.synthetic)
    path = context.synthetic["image"].iloc[3]
    Image.fromarray(np.asarray(Image.open(path)) // 2).save(path)
    again = prepare(options)[0]
    seen = counted(again, monkeypatch)
    after = again.features(again.synthetic)
    assert sum(seen) == 1
    assert np.flatnonzero((after != before).any(1)).tolist() == [3]


def test_workers_change_nothing(context):
    rows = context.real
    assert np.array_equal(read_pixels(rows, 32, workers=2), read_pixels(rows, 32))


def test_an_unreadable_image_is_named(copied_world, tmp_path):
    context = prepare(Options(*copied_world, tmp_path / "out", networks=("random",)))[0]
    path = context.train["image"].iloc[80]
    with open(path, "r+b") as file:
        file.truncate(100)
    for workers in (0, 2):
        with pytest.raises(UserError, match="real_080.png: cannot read this image") as refused:
            read_pixels(context.train, 32, workers)
        assert "Traceback" not in str(refused.value)


def test_a_damaged_cache_is_named(context):
    context.features(context.synthetic)
    path = next((context.cache / context.network.fingerprint).glob("*.safetensors"))
    path.write_bytes(path.read_bytes()[:50])
    context._memory.clear()
    with pytest.raises(UserError, match="damaged feature cache; remove this file"):
        context.features(context.synthetic)

"""Dropping conditions and pairing them with their null."""

from dataclasses import replace
from itertools import pairwise

import torch

from gen.models.condition import Condition


def condition(batch=6, spatial=False, null_spatial=False):
    generator = torch.Generator().manual_seed(0)
    return Condition(
        tokens=torch.randn(batch, 3, 5, generator=generator),
        mask=torch.ones(batch, 3, dtype=torch.bool),
        null_tokens=torch.randn(1, 3, 5, generator=generator).expand(batch, 3, 5),
        null_mask=torch.tensor([True, False, False]).expand(batch, 3),
        spatial=torch.randn(batch, 2, 4, 4, generator=generator) if spatial else None,
        null_spatial=torch.zeros(batch, 2, 4, 4) if null_spatial else None,
    )


def dropped_rows(given, result):
    rows = []
    for row in range(len(given.tokens)):
        null = torch.equal(result.tokens[row], given.null_tokens[row])
        assert null or torch.equal(result.tokens[row], given.tokens[row])
        assert torch.equal(result.mask[row], (given.null_mask if null else given.mask)[row])
        rows.append(null)
    return rows


def test_each_sample_is_dropped_by_its_own_draw():
    given = condition(400)
    rows = dropped_rows(given, given.drop(0.25, torch.Generator().manual_seed(1)))
    assert 70 < sum(rows) < 130
    changes = sum(a != b for a, b in pairwise(rows))
    assert changes > 100  # neighbours are independent


def test_summary_is_the_mean_of_the_tokens_that_count():
    given = condition(2)
    masked = replace(given, mask=torch.tensor([[True, True, False], [False, False, False]]))
    torch.testing.assert_close(masked.summary()[0], given.tokens[0, :2].mean(0))
    assert masked.summary()[1].abs().max() == 0


def test_never_and_always():
    given = condition()
    assert not any(dropped_rows(given, given.drop(0.0)))
    assert all(dropped_rows(given, given.drop(1.0)))
    assert all(dropped_rows(given, given.null()))


def test_global_generator_decides_where_none_is_given():
    given = condition(50)
    torch.manual_seed(3)
    first = dropped_rows(given, given.drop(0.5))
    torch.manual_seed(3)
    assert dropped_rows(given, given.drop(0.5)) == first
    assert dropped_rows(given, given.drop(0.5)) != first


def test_pairs_have_the_null_first():
    given = condition(spatial=True, null_spatial=True)
    pair = given.cat_null()
    assert pair.tokens.shape == (12, 3, 5) and pair.spatial.shape == (12, 2, 4, 4)
    assert torch.equal(pair.tokens[:6], given.null_tokens) and torch.equal(pair.tokens[6:], given.tokens)
    assert torch.equal(pair.mask[:6], given.null_mask) and torch.equal(pair.mask[6:], given.mask)
    assert torch.equal(pair.spatial[:6], given.null_spatial) and torch.equal(pair.spatial[6:], given.spatial)


def test_without_a_null_the_spatial_part_stays():
    """A prior image or a radiograph to clean is never dropped."""
    given = condition(spatial=True)
    assert torch.equal(given.drop(1.0).spatial, given.spatial)
    assert torch.equal(given.cat_null().spatial, torch.cat([given.spatial, given.spatial]))
    assert given.cat_null().null_spatial is None
    with_null = condition(spatial=True, null_spatial=True)
    assert torch.equal(with_null.drop(1.0).spatial, with_null.null_spatial)
    assert condition().cat_null().spatial is None

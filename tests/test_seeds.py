"""Random streams depend on what is drawn, not on what was drawn before."""

import random

import torch

from gen import seeds


def test_a_batch_of_eight_is_eight_batches_of_one():
    numbers = [5, 6, 7, 5, 0, 2**40, -3, 11]
    together = seeds.image_noise(numbers, (4, 3, 3))
    assert together.shape == (8, 4, 3, 3)
    assert torch.equal(together, torch.cat([seeds.image_noise([number], (4, 3, 3)) for number in numbers]))
    assert torch.equal(together[0], together[3])
    assert torch.unique(together.flatten(1), dim=0).shape[0] == 7


def test_image_noise_is_standard_normal_and_leaves_the_global_stream_alone():
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    noise = seeds.image_noise(list(range(200)), (4, 8, 8))
    assert torch.equal(torch.rand(3), expected)
    assert abs(noise.mean()) < 0.01 and abs(noise.std() - 1) < 0.01
    assert torch.corrcoef(noise.flatten(1)).fill_diagonal_(0).abs().max() < 0.35


def test_streams_of_other_names_are_others():
    assert not torch.equal(seeds.image_noise([1], (4,)), seeds.image_noise([1], (4,), "other"))
    parts = [(1, 2), (2, 1), (12,), (1, "2", 0), ("a", 1), ("a", 2)]
    assert len({seeds.mix(*part) for part in parts}) == len(parts)
    assert all(0 <= seeds.mix(*part) < seeds.SEED_LIMIT for part in parts)


def test_seeds_are_the_same_on_every_machine():
    """Written down once: a change here makes every recorded seed draw another image."""
    assert seeds.mix(3, "epoch", 4) == 9029681475137641398


def test_steps_are_seeded_whatever_went_before():
    draws = []
    for rank, step in [(0, 3), (0, 4), (1, 3), (0, 3)]:
        torch.rand(len(draws) + 1)
        seeds.seed_step(9, rank, step)
        draws.append((random.random(), torch.rand(2).tolist()))
    assert draws[0] == draws[3]
    assert len({str(draw) for draw in draws}) == 3

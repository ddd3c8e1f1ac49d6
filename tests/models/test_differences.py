"""A tuned network from its base and what differs."""

import pytest
import torch

from gen.models.differences import difference, lost, restored


def weights(seed=0):
    generator = torch.Generator().manual_seed(seed)
    shapes = {"in": (16, 4, 3, 3), "mid": (64, 64), "bias": (64,), "same": (32, 32), "small": (3, 3)}
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def test_a_change_of_low_rank_is_kept_in_full():
    base, other = weights(), weights(1)
    tuned = base | {"mid": base["mid"] + other["mid"][:, :3] @ other["mid"][:3], "bias": other["bias"]}
    tuned |= {"small": other["small"], "in": torch.cat([base["in"], other["in"]], dim=1)}
    stored = difference(tuned, base, rank=4)
    assert set(stored) == {"mid::left", "mid::right", "mid::scale", "bias", "small", "in"}
    assert stored["mid::left"].shape == (64, 3) and stored["mid::left"].dtype == torch.int8
    again = restored(base, stored)
    assert again.keys() == tuned.keys()
    assert all(torch.equal(again[name], weight) for name, weight in tuned.items() if name != "mid")
    assert lost(tuned, base, stored) < 5e-4  # what rounding to eight bits adds


def test_factors_of_an_older_folder_have_no_scale():
    base, other = weights(), weights(1)
    left, right = other["mid"][:, :3].half(), other["mid"][:3].half()
    again = restored(base, {"mid::left": left, "mid::right": right})
    torch.testing.assert_close(again["mid"], base["mid"] + left.float() @ right.float())
    assert torch.equal(again["in"], base["in"])


def test_a_change_of_high_rank_is_cut_to_the_best_approximation():
    base, other = weights(), weights(1)
    tuned = base | {"mid": base["mid"] + other["mid"]}
    stored = difference(tuned, base, rank=8)
    values = torch.linalg.svdvals(other["mid"])
    expected = (values[8:].square().sum() / values.square().sum()).item()
    assert abs(lost(tuned, base, stored) - expected) < 5e-4


def test_nothing_changed_nothing_stored():
    assert difference(weights(), weights(), rank=4) == {} and lost(weights(), weights(), {}) == 0.0


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"mid::scale": None}, "without a scale"),
        ({"mid::scale": torch.ones(2)}, "without a scale"),
        ({"mid::left": torch.zeros(100_000, 3, dtype=torch.int8)}, "of a weight of shape"),
        ({"mid::right": torch.zeros(2, 64, dtype=torch.int8)}, "of a weight of shape"),
    ],
)
def test_damaged_factors_are_refused_before_they_are_multiplied(changed, said):
    base, other = weights(), weights(1)
    stored = difference(base | {"mid": base["mid"] + other["mid"][:, :3] @ other["mid"][:3]}, base, rank=4) | changed
    with pytest.raises(ValueError, match=said):
        restored(base, {name: value for name, value in stored.items() if value is not None})

"""Diversity of sets whose diversity is known."""

import numpy as np
import pytest

from gen.eval import diversity

RNG = np.random.default_rng


def test_vendi_score_counts_what_is_different():
    assert diversity.vendi_score(np.ones((7, 3))) == pytest.approx(1)
    assert diversity.vendi_score(np.eye(9)) == pytest.approx(9)
    assert diversity.vendi_score(np.repeat(np.eye(4), 5, axis=0)) == pytest.approx(4)


def test_vendi_score_is_the_same_by_either_gram_matrix():
    vectors = RNG(0).normal(size=(30, 30))
    wide = np.concatenate([vectors, np.zeros((30, 10))], axis=1)
    assert diversity.vendi_score(vectors[:, :29]) == pytest.approx(
        diversity.vendi_score(np.concatenate([vectors[:, :29], np.zeros((30, 40))], axis=1)), rel=1e-9
    )
    assert diversity.vendi_score(wide) == pytest.approx(diversity.vendi_score(vectors), rel=1e-9)


def test_inception_score_of_sure_and_of_undecided_networks():
    assert diversity.inception_score(np.zeros((10, 5))) == pytest.approx(1)
    assert diversity.inception_score(100 * np.eye(5).repeat(3, axis=0)) == pytest.approx(5)


def test_inception_score_is_that_of_torchmetrics():
    torch = pytest.importorskip("torch")
    from torchmetrics.image.inception import InceptionScore

    logits = RNG(1).normal(0, 2, size=(100, 10)).astype(np.float32)

    class Identity(torch.nn.Module):
        def forward(self, x):
            return x

    theirs = InceptionScore(feature=Identity(), splits=1)
    theirs.update(torch.from_numpy(logits))
    assert diversity.inception_score(logits) == pytest.approx(float(theirs.compute()[0]), rel=1e-4)


def test_an_image_is_like_itself_and_less_like_another():
    pixels = RNG(2).integers(0, 255, size=(3, 176, 176)).astype(np.uint8)
    pixels[1] = pixels[0]
    alike = diversity.similarities(pixels, [(0, 1), (0, 2)])
    assert alike[0] == pytest.approx(1, abs=1e-5)
    assert alike[1] < 0.5


def test_pairs_stay_within_or_across_prompts():
    prompts = ["a"] * 4 + ["b"] * 3 + ["c"]
    within = diversity.pairs_within(prompts, 100, RNG(0))
    assert len(within) == 6 + 3
    assert all(prompts[a] == prompts[b] and a != b for a, b in within)
    across = diversity.pairs_across(prompts, 5, RNG(0))
    assert len(set(across)) == 5
    assert all(prompts[a] != prompts[b] for a, b in across)

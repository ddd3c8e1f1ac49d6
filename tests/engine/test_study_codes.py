"""Learning whose study it is: what of a context training leaves out, and how recognition is counted."""

import numpy as np
import pytest
import torch

from gen.engine.study_codes import recognition, thinned
from gen.models.study_code import StudyCoder
from gen.models.views import Study


def study(mask):
    mask = torch.tensor(mask)
    count = mask.shape[1]
    latents = torch.randn(*mask.shape, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    views = torch.ones(mask.shape, dtype=torch.long)
    angles = torch.arange(count, dtype=torch.float).expand(mask.shape) * 30
    return Study(views[:, 0], angles[:, 0], latents, mask, views, angles)


def test_a_context_never_loses_all_its_images():
    torch.manual_seed(0)
    given = study([[True, True, False]] * 200 + [[False] * 3])
    left = thinned(given, 0.7)
    assert left.mask[:200].any(1).all() and not left.mask[200].any() and not left.mask[:, 2].any()
    assert 200 < int(left.mask.sum()) < 400
    assert torch.equal(thinned(given, 0.0).mask, given.mask)


def test_images_that_are_not_there_have_no_part_in_a_code():
    torch.manual_seed(0)
    coder, given = StudyCoder(4, width=8, features=8).eval(), study([[True, False, True], [False] * 3])
    with torch.no_grad():
        code = coder.of_study(given.latents, given.mask, given.angles)
        junk = torch.where(given.mask[..., None, None, None], given.latents, torch.full_like(given.latents, 9.0))
        torch.testing.assert_close(coder.of_study(junk, given.mask, given.angles), code)
        alone = coder(given.latents[0, [0, 2]], given.angles[0, [0, 2]])
    torch.testing.assert_close(code[0], torch.nn.functional.normalize(alone.sum(0), dim=0))
    assert not code[1].any()


def test_recognition_counts_strangers_only():
    images = torch.eye(4)[[0, 0, 1, 2]]
    others = torch.eye(4)[[0, 0, 1, 0]]  # the last one's study looks as the first patient's
    found = recognition(images, others, torch.tensor([5, 5, 6, 7]))
    assert found["images"] == 4 and found["own_nearest"] == 0.25
    # shares of strangers; the first two tie with the last one's study, and the last, like nobody's, with everybody's
    assert found["own_nearer"] == pytest.approx(np.mean([1.5 / 2, 1.5 / 2, 1, 1.5 / 3]))

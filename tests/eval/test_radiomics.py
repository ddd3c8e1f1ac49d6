"""Grey-level features against scikit-image and closed forms."""

import numpy as np
import pytest

from gen.eval import fidelity_words, radiomics
from gen.eval.section import BAD, GOOD, Figure, Section

RNG = np.random.default_rng


def test_co_occurrence_is_that_of_scikit_image():
    skimage = pytest.importorskip("skimage.feature")
    levels = RNG(0).integers(0, radiomics.LEVELS, size=(40, 50))
    angles = {(0, 1): 0, (1, 1): np.pi / 4, (1, 0): np.pi / 2, (1, -1): 3 * np.pi / 4}
    for (dy, dx), angle in angles.items():
        theirs = skimage.graycomatrix(levels.astype(np.uint8), [1], [angle], radiomics.LEVELS, True, True)
        ours = radiomics._co_occurrence(levels, dy, dx)
        assert ours.sum() == pytest.approx(1)
        matches = [np.allclose(ours, part) for part in (theirs[:, :, 0, 0], theirs[:, :, 0, 0].T)]
        assert any(matches), (dy, dx)
        for number, name in enumerate(("contrast", "dissimilarity", "homogeneity", "ASM", "", "correlation")):
            if name:
                expected = skimage.graycoprops(theirs, name)[0, 0]
                assert radiomics._haralick(ours)[number] == pytest.approx(expected, rel=1e-6), name


def test_features_have_the_promised_number_and_are_finite():
    images = RNG(1).integers(0, 255, size=(3, radiomics.SIDE, radiomics.SIDE)).astype(np.uint8)
    images[2] = 0  # a blank image must not break the set's figure
    found = radiomics.radiomics(images)
    assert found.shape == (3, 84)
    assert np.isfinite(found).all()


def test_blur_moves_the_texture_and_brightness_the_mean():
    from scipy.ndimage import gaussian_filter

    image = RNG(2).integers(30, 200, size=(radiomics.SIDE, radiomics.SIDE)).astype(np.uint8)
    plain, blurred, bright = radiomics.radiomics(np.stack([image, gaussian_filter(image, 2), image + 40]))
    contrast = 12  # first of the texture features
    assert blurred[contrast] < 0.7 * plain[contrast]
    assert bright[0] == pytest.approx(plain[0] + 40 / 255, abs=1e-6)
    assert bright[contrast] == pytest.approx(plain[contrast], rel=0.02)


def test_z_scores_leave_constant_features_alone():
    reference = np.column_stack([RNG(3).normal(5, 2, 50), np.full(50, 3.0)])
    found = radiomics.standardised(reference, reference)
    assert found[:, 0].mean() == pytest.approx(0, abs=1e-12) and found[:, 0].std() == pytest.approx(1)
    assert (found[:, 1] == 0).all()


@pytest.mark.parametrize(("low", "kind"), [(3.0, GOOD), (9.0, BAD)])
def test_the_verdict_says_whether_texture_is_told_from_real_ones(low, kind):
    section = Section(
        "fidelity",
        "Fidelity",
        figures=[Figure("Frechet radiomics distance (x)", 20.0, low, 40.0, floor=5.0, control=80.0)],
    )
    fidelity_words._words_on_texture(section)
    (verdict,) = section.verdicts
    assert verdict.kind == kind and "distance 20, two real sets 5" in verdict.text
    assert ("20 % of the way" in verdict.text) == (kind == BAD)

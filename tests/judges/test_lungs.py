"""Measures of drawn chests against their geometry; the segmenter from a folder."""

import pytest
import torch

from gen.judges.lungs import LungSegmenter, chest_measures, without_strays

SIDE = 100


def chest(right=(10, 45), left=(55, 90), heart=(40, 75)):
    """Lungs and heart as boxes between columns; lungs over 60 rows, heart over 30."""
    masks = torch.zeros(1, 2, SIDE, SIDE)
    for first, last in (right, left):
        masks[:, 0, 20:80, first:last] = 1
    masks[:, 1, 50:80, heart[0] : heart[1]] = 1
    return masks


def test_measures_of_boxes():
    measures = {name: values.item() for name, values in chest_measures(chest()).items()}
    assert measures["lung_area"] == pytest.approx(60 * 70 / SIDE**2)
    assert measures["heart_area"] == pytest.approx(30 * 35 / SIDE**2)
    assert measures["cardiothoracic_ratio"] == pytest.approx(35 / 80)
    assert measures["lung_width"] == pytest.approx(0.8) and measures["lung_height"] == pytest.approx(0.6)
    assert measures["right_share"] == pytest.approx(0.5) and measures["asymmetry"] == pytest.approx(0)


def test_a_missing_lung_and_no_chest():
    masks = torch.cat([chest(), chest(left=(55, 70)), torch.zeros(1, 2, SIDE, SIDE)])
    measures = chest_measures(masks)
    # lungs from 10 to 70: the middle is column 40
    assert measures["right_share"][1] == pytest.approx(30 / 50) and measures["asymmetry"][1] > 0.1
    assert measures["lung_area"][2] == 0 and measures["cardiothoracic_ratio"][2].isnan()
    assert measures["asymmetry"][2].isnan()


def test_a_stray_pixel_does_not_widen_the_chest():
    masks = chest()
    masks[0, 0, 50, 99] = 1
    assert chest_measures(masks)["lung_width"].item() == pytest.approx(0.8)


def test_masks_have_the_images_size(tiny_lungs_dir):
    segmenter = LungSegmenter.load(tiny_lungs_dir)
    images = torch.rand(3, 1, 40, 56, generator=torch.Generator().manual_seed(0)) * 2 - 1
    masks = segmenter.masks(images)
    assert masks.shape == (3, 2, 40, 56) and segmenter.structures == ("lungs", "heart")
    assert 0 <= masks.min() and masks.max() <= 1
    torch.testing.assert_close(segmenter.masks(images[1:2]), masks[1:2])
    assert segmenter.masks(images[:0]).shape == (0, 2, 40, 56)


def test_strays_are_dropped_and_the_chest_stays():
    masks = 0.9 * chest()
    masks[0, 0, 2:5, 2:5] = 0.8
    masks[0, 1, 95:98, 2:5] = 0.7
    cleaned = without_strays(masks)
    assert torch.equal(cleaned[0, 0, 2:5, 2:5], torch.full((3, 3), 0.4))
    assert torch.equal(cleaned > 0.5, chest() > 0.5) and cleaned.shape == masks.shape
    for name, value in chest_measures(cleaned).items():
        torch.testing.assert_close(value, chest_measures(chest())[name])

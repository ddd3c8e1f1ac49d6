"""Which drawn images pass for a chest: the mean chest does, its negative and blank or burnt-out ones do not."""

import torch
from torch.nn import functional as F

from gen.data.inspection import mean_chest
from gen.judges.lungs import LungSegmenter
from gen.judges.sanity import sanity


def chest():
    return F.interpolate(torch.from_numpy(mean_chest())[None, None] * 2 - 1, (96, 96), mode="bilinear")


def test_grey_levels():
    good = chest()
    burnt = good.clone()
    burnt[..., :60, :] = 1
    found = sanity(torch.cat([good, -good, 0.02 * good, burnt]))
    assert found.reason == ("", "inverted", "blank", "saturated")
    assert found.passed == [True, False, False, False]
    assert found.likeness[0] > 0.9 and found.lung_area.isnan().all()
    assert abs(found.saturated[3].item() - 60 / 96) < 0.01


def test_lungs_are_asked_for_where_there_is_a_segmenter(tiny_lungs_dir):
    segmenter = LungSegmenter.load(tiny_lungs_dir)
    with torch.no_grad():
        segmenter.network.out.bias.fill_(-9)  # sees nothing
    assert sanity(chest(), segmenter).reason == ("no lungs",)
    with torch.no_grad():
        segmenter.network.out.weight.zero_()
        segmenter.network.out.bias.fill_(9)  # sees lungs everywhere
    assert sanity(chest(), segmenter).reason == ("no lungs",)

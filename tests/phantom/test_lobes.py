import dataclasses

import numpy as np
import pytest

from gen.data.prompts import parse_prompt
from gen.phantom.body import GROUND_VOLUME
from gen.phantom.cohort import BITS, PANEL
from gen.phantom.findings import LOBAR, SIZES, Finding, draw_finding
from gen.phantom.geometry import Slab
from gen.phantom.lobes import LOBES, Fissures, lung_of
from gen.phantom.regions import fill
from gen.phantom.shot import LOBE_NAMES, ORGANS, scene
from gen.phantom.study import Study
from gen.phantom.technique import technique

EVERY = [lobe for lobes in LOBES.values() for lobe in lobes]
VIEWS = ("PA", "LATERAL", "AP")


@pytest.fixture(scope="module")
def shots(healthy):
    return {view: healthy.shoot(view, 96, noise=False) for view in VIEWS}


def middle(mask: np.ndarray) -> tuple[float, float]:
    rows, columns = np.nonzero(mask)
    return rows.mean(), columns.mean()


def drawn(healthy, kind: str, lobe: str) -> Finding:
    """The first finding of a kind that falls into a lobe."""
    draws = (draw_finding(healthy.body, kind, np.random.default_rng(seed)) for seed in range(200))
    return next(finding for finding in draws if finding.lobe == lobe)


def test_fissures_share_a_lung_out_without_gap_or_overlap(healthy):
    rng = np.random.default_rng(0)
    points = rng.uniform(-120, 120, (2000, 3)).astype(np.float32)
    place = Slab(*points.T, 0.0)
    for lung, lobes in LOBES.items():
        fields = np.stack([healthy.body.fissures.field(lobe, place) for lobe in lobes])
        assert ((fields < 0).sum(0) == 1).all()
        assert {lung_of(lobe) for lobe in lobes} == {lung}


def test_the_oblique_fissure_falls_forwards_and_lobes_have_their_shares(healthy):
    body = healthy.body
    volumes = {lobe: len(body.region_points(lung_of(lobe), lobe)) * GROUND_VOLUME for lobe in EVERY}
    whole = sum(volumes.values())
    assert whole == pytest.approx(sum(len(points) for points in body.grounds.values()) * GROUND_VOLUME)
    shares = {lobe: volume / whole for lobe, volume in volumes.items()}
    assert 0.05 < shares["right_middle"] < 0.2 and all(0.12 < shares[lobe] < 0.4 for lobe in EVERY if "mid" not in lobe)
    back, front = (body.region_points("lung_left", f"left_{name}").mean(0) for name in ("lower", "upper"))
    assert back[1] > front[1] + 20 and back[2] < front[2] - 20
    flat = dataclasses.replace(Fissures.of(healthy.patient), waves=(0.0, 0.0))
    heights = [flat.oblique("lung_left", Slab(*np.float32([[70], [y], [0]]), 0.0))[0] for y in (-40, 0, 40)]
    assert np.all(np.diff(heights) < 0)


@pytest.mark.parametrize("view", VIEWS)
def test_lobes_add_up_to_their_lung(healthy, shots, view):
    masks = shots[view].masks
    for lung, lobes in LOBES.items():
        assert np.array_equal(np.any([masks[lobe] for lobe in lobes], axis=0), masks[lung])
        assert all(masks[lobe].any() for lobe in lobes)
    organs = scene(healthy.body, (), (), technique(healthy.patient, 1, view, 96)).organs
    for lung, lobes in LOBES.items():
        assert np.allclose(sum(organs[lobe] for lobe in lobes), organs[lung], atol=1e-3)


def test_lobes_lie_where_they_should_in_every_view(shots):
    for view in ("PA", "AP"):  # the patient's left on the image's right, never flipped
        masks = shots[view].masks
        assert all(middle(masks[lobe])[1] < 48 for lobe in LOBES["lung_right"])
        assert all(middle(masks[lobe])[1] > 48 for lobe in LOBES["lung_left"])
        assert middle(masks["right_upper"])[0] < middle(masks["right_middle"])[0]
    side = shots["LATERAL"].masks  # the back on the right
    for name in ("right", "left"):
        assert middle(side[f"{name}_lower"])[1] > middle(side[f"{name}_upper"])[1]
    assert middle(side["right_middle"])[1] < middle(side["right_lower"])[1]


@pytest.mark.parametrize("kind", LOBAR)
def test_a_finding_is_drawn_into_a_lobe_and_keeps_to_it(healthy, kind):
    for lobe in ("right_middle", "right_lower", "left_upper"):
        finding = drawn(healthy, kind, lobe)
        assert finding.lung == lung_of(lobe)
        assert healthy.body.lobe_at(np.array(finding.place), finding.lung) == lobe
        ill = Study(healthy.seed, healthy.patient, (finding,))
        for view in ("PA", "LATERAL"):
            masks = ill.shoot(view, 64, noise=False).masks
            assert masks[finding.name].any() and not (masks[finding.name] & ~masks[lobe]).any()
        assert f"{lobe.replace('_', ' ')} lobe" in ill.report
        assert parse_prompt(ill.report)["findings"].split(";") == ill.labels


def test_findings_without_a_lobe_name_none(healthy):
    for kind in set(SIZES) - set(LOBAR):
        assert draw_finding(healthy.body, kind, np.random.default_rng(1)).lobe == ""


def test_a_lobar_region_holds_its_volume(healthy):
    finding = dataclasses.replace(drawn(healthy, "consolidation", "right_upper"), size=200.0)
    held = fill(healthy.body, finding).holds(healthy.body, healthy.body.grounds["lung_right"])
    assert held.sum() * GROUND_VOLUME == pytest.approx(200, rel=0.03)


def test_a_nodule_has_room_in_its_lobe(healthy):
    for seed in range(12):
        finding = draw_finding(healthy.body, "nodule", np.random.default_rng(seed))
        rng = np.random.default_rng(seed)
        ball = rng.normal(size=(400, 3))
        ball *= 0.4 * finding.size / np.linalg.norm(ball, axis=1, keepdims=True)
        points = (np.array(finding.place) + ball).astype(np.float32)
        assert (healthy.body.fissures.field(finding.lobe, Slab(*points.T, 0.0)) < 1).mean() > 0.9


def test_every_organ_has_its_mask_and_every_mask_its_bit(shots):
    assert set(LOBE_NAMES) == set(EVERY)
    for shot in shots.values():
        assert set(shot.masks) == set(ORGANS) and all(mask.any() for mask in shot.masks.values())
    assert set(ORGANS) <= set(BITS) and sorted(BITS.values()) == list(range(len(BITS)))
    assert PANEL < len(BITS) <= 2 * PANEL

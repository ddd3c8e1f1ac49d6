from itertools import product

import numpy as np
import pytest

from gen.phantom.coarse import Raster
from gen.phantom.display import Display, processed, shown
from gen.phantom.geometry import Geometry
from gen.phantom.physics import COEFFICIENTS, ENERGIES, Exposure, attenuation, detected, noisy, spectrum, transmission
from gen.phantom.solids import Cluster, Solid, chords, nearest
from gen.phantom.tubes import chain, nested_paths, paths

FAR = Geometry(0.0, 1e7, 100.0, 100.0, 64)  # almost parallel
CLOSE = Geometry(0.0, 1000.0, 200.0, 200.0, 64)


def test_coefficients_are_the_tabled_ones_and_between_them_monotone():
    for material, table in COEFFICIENTS.items():
        assert np.allclose(attenuation(material, np.array(ENERGIES)), table)
        assert np.all(np.diff(attenuation(material, np.linspace(20, 150, 60))) < 0)


def test_spectrum_is_kramers_law_behind_the_filter():
    energy, share = spectrum(100, 0.0)
    assert share.sum() == pytest.approx(1)
    assert np.allclose(share / share[0], (100 - energy) / (100 - energy[0]))
    assert (spectrum(100, 6.0)[1] * energy).sum() > (share * energy).sum()  # filtration hardens


def test_slab_follows_beer_and_lambert():
    thick = np.array([[0.0, 1.0, 5.0, 20.0]], np.float32)
    exposure = Exposure(kvp=90)
    energy, share = spectrum(90, exposure.filtration)
    expected = (share * np.exp(-attenuation("soft", energy) * thick[0][:, None])).sum(1)
    assert np.allclose(transmission({"soft": thick}, exposure)[0], expected, rtol=1e-5)


def test_bone_stands_out_more_at_low_voltage():
    masses = {"soft": np.full((1, 2), 15.0, np.float32), "bone": np.array([[0.0, 1.0]], np.float32)}
    contrast = {}
    for kvp in (70, 120):
        signal = transmission(masses, Exposure(kvp=kvp))[0]
        contrast[kvp] = np.log(signal[0] / signal[1])
    assert contrast[70] > 1.15 * contrast[120] > 0


def test_noise_is_poisson_and_scatter_a_share_of_the_primary():
    exposure = Exposure(photons=1e4, scatter=0.5, blur=0)
    even = np.full((64, 64), 0.25, np.float32)
    assert np.allclose(detected(even, exposure, 1.0), 0.25 * 1.5, rtol=1e-4)
    signal = noisy(even, exposure, 1.0, np.random.default_rng(0))
    counts = signal * 1e4
    assert counts.var() / counts.mean() == pytest.approx(1, abs=0.08)


def test_magnification_is_source_distance_over_depth():
    point = np.array([50.0, -100.0, 0.0])  # 100 mm nearer to the detector of a PA view
    assert CLOSE.magnification(point) == pytest.approx(1000 / 900)
    row, column = CLOSE.project(point)
    assert (column - 31.5) * CLOSE.pixel == pytest.approx(50 * 1000 / 900) and row == pytest.approx(31.5)


@pytest.mark.parametrize(("angle", "column"), [(0, 1), (3, 1), (180, 1), (183, 1), (90, 0), (94, -1), (86, 1)])
def test_the_patients_left_is_on_the_images_right(angle, column):
    geometry = Geometry(float(angle), 1800.0, 200.0, 400.0, 64)
    assert np.sign(round(float(geometry.project(np.array([60.0, 0, 0]))[1] - 31.5), 6)) == column
    assert geometry.project(np.array([0.0, 0, 60]))[0] < 31.5  # the head is up
    if 45 < angle < 135:
        assert geometry.project(np.array([0.0, 60, 0]))[1] > 31.5  # the back is on the right


def test_slabs_lie_on_the_rays():
    slab = CLOSE.slab(37.0)
    points = np.stack(np.broadcast_arrays(slab.x, slab.y, slab.z), -1)
    rows, columns = CLOSE.project(points.astype(float))
    assert np.allclose(columns, np.arange(64)[None], atol=1e-3) and np.allclose(rows, np.arange(64)[:, None], atol=1e-3)


def test_a_sphere_has_its_closed_form_chords_and_volume():
    ball = Solid.along_axes((0, 0, 0), (20, 20, 20))
    path = chords(FAR, [ball])
    assert path[31:33, 31:33].mean() == pytest.approx(40, rel=0.01)
    assert path.sum() * FAR.pixel**2 == pytest.approx(4 / 3 * np.pi * 20**3, rel=0.01)
    field = nearest(FAR.slab(0.0), Cluster.of([ball]))
    assert ((field < 0).sum() * FAR.pixel**2) == pytest.approx(np.pi * 400, rel=0.02)


@pytest.mark.parametrize("radius", [0.2, 1.0, 8.0])
@pytest.mark.parametrize("end", [(30, 0, 10), (0, 0, 30), (20, 25, 5)])
def test_a_tube_keeps_its_volume(radius, end):
    tube = chain(np.array([[-10.0, 0, -8], end]), radius)
    length = np.linalg.norm(np.array(end) - [-10, 0, -8])
    assert paths(FAR, tube).sum() * FAR.pixel**2 == pytest.approx(np.pi * radius**2 * length, rel=0.03)


def test_a_tube_across_the_beam_is_as_thick_as_it_is():
    path = paths(FAR, chain(np.array([[-60.0, 0, 0], [60, 0, 0]]), 10.0))
    assert path[31:33, 20:40].mean() == pytest.approx(20, rel=0.01)
    flat = paths(FAR, chain(np.array([[-60.0, 0, 0], [60, 0, 0]]), np.array([[3.0, 9.0]]), np.array([[0, 1.0, 0]] * 2)))
    assert flat[31:33, 20:40].mean() == pytest.approx(6, rel=0.02)  # 3 mm to the front and the back


@pytest.mark.parametrize("radius", [1.5, 9.0])
def test_a_hollow_within_a_tube_has_the_path_that_it_has_alone(radius):
    tube = chain(np.array([[-40.0, -5, -8], [0, 10, 0], [30, 0, 60]]), radius)
    both = nested_paths(FAR, [tube, tube.thinner(1.0)])
    np.testing.assert_allclose(both[0], paths(FAR, tube), atol=1e-4)
    np.testing.assert_allclose(both[1], paths(FAR, tube.thinner(1.0)), atol=1e-4)
    assert both[1].max() > 0


def test_windows_hold_what_is_within_reach_on_every_axis_and_nothing_where_nothing_is():
    plane = FAR.slab(0.0)
    (top, bottom, left, right), reach = plane.windows(np.array([[10.0, 0.0, -20.0]]), np.array([15.0])), 15.0
    rows, columns = (
        np.flatnonzero(np.abs(plane.z[:, 0] + 20) <= reach),
        np.flatnonzero(np.abs(plane.x[0] - 10) <= reach),
    )
    assert (top[0], bottom[0], left[0], right[0]) == (rows[0], rows[-1] + 1, columns[0], columns[-1] + 1)
    top, bottom, left, right = plane.windows(np.array([[10.0, 90.0, -20.0]]), np.array([15.0]))
    assert (bottom - top > 0).all() and (right - left == 0).all()


def test_display_is_linear_before_its_curve_and_monotone_in_it():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 64, 64)).astype(np.float32)
    display = Display()
    assert np.allclose(processed(a + b, display), processed(a, display) + processed(b, display), atol=1e-5)
    curve = shown(np.linspace(-1, 2, 200)[None], (0.0, 1.0), display)[0]
    assert np.all(np.diff(curve) >= 0) and curve[0] == 0 and curve[-1] == pytest.approx(display.white)


def test_open_air_scatters_nothing():
    exposure = Exposure(scatter=0.5, blur=0)
    assert np.allclose(detected(np.ones((64, 64), np.float32), exposure, 1.0), 1)


@pytest.mark.parametrize("size", [128, 256, 512])
def test_a_straight_field_is_interpolated_exactly_within_the_shadow_of_its_box(size):
    geometry = Geometry(0.0, 1830.0, 150.0, 400.0, size)
    corners = np.array(list(product((-60.0, 90.0), (-40.0, 40.0), (-120.0, 30.0))))
    raster = Raster.of(geometry, corners)
    assert raster.stride == {128: 1, 256: 2, 512: 4}[size]
    (coarse,) = raster.planes(0.0, 0.0, 8.0)
    fine = geometry.slab(0.0).cut(raster.pixels)
    field = 3 * coarse.x - 2 * coarse.z + 5
    assert np.allclose(raster.sharpened(field), 3 * fine.x - 2 * fine.z + 5, atol=1e-3)
    rows, columns = geometry.project(corners)
    down, across = raster.pixels
    assert (
        down.start <= rows.min()
        and rows.max() < down.stop
        and across.start <= columns.min() < columns.max() < across.stop
    )
    placed = raster.placed(np.ones(fine.shape, np.float32))
    assert placed.sum() == fine.shape[0] * fine.shape[1] < size * size

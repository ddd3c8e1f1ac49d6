import numpy as np
import pytest
from PIL import Image

from gen.data import images
from gen.data.images import from_model, pad_to_square, prepare, read_image, resize, to_model
from gen.errors import UserError

GRADIENT = np.arange(12 * 16, dtype=np.uint8).reshape(12, 16)


def test_eight_bit_values_are_parts_of_255(tmp_path):
    Image.fromarray(GRADIENT).save(tmp_path / "a.png")
    image = read_image(tmp_path / "a.png")
    assert image.dtype == np.float32
    np.testing.assert_allclose(image, GRADIENT / 255, atol=1e-7)


def test_sixteen_bit_values_are_parts_of_65535(tmp_path):
    pixels = (np.arange(192, dtype=np.uint16) * 341).reshape(12, 16)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    np.testing.assert_allclose(read_image(tmp_path / "a.png"), pixels / 65535, atol=1e-7)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "LA", "1"])
def test_every_mode_becomes_one_channel(tmp_path, mode):
    grey = Image.fromarray(np.where(GRADIENT > 90, 255, 0).astype(np.uint8))
    grey.convert(mode).save(tmp_path / "a.png")
    np.testing.assert_allclose(read_image(tmp_path / "a.png"), np.asarray(grey) / 255, atol=0.01)


def test_transparent_pixels_are_black(tmp_path):
    Image.fromarray(np.full((4, 4, 4), (255, 255, 255, 0), dtype=np.uint8)).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png").max() == 0


def test_jpeg(tmp_path):
    Image.fromarray(np.full((16, 24), 128, dtype=np.uint8)).save(tmp_path / "a.jpeg", quality=95)
    image = read_image(tmp_path / "a.jpeg")
    assert image.shape == (16, 24)
    np.testing.assert_allclose(image, 128 / 255, atol=0.01)


@pytest.mark.parametrize("options", [{}, {"compress_level": 0}])
def test_fast_decoding_gives_pillows_pixels(tmp_path, options):
    values = np.random.default_rng(0).integers(0, 16, (50, 30), dtype=np.uint8)
    Image.fromarray(values).save(tmp_path / "grey.png", **options)
    with Image.open(tmp_path / "grey.png") as image:
        np.testing.assert_array_equal(read_image(tmp_path / "grey.png", for_size=20), np.asarray(image.convert("L")))
    fast = images._fast_png((tmp_path / "grey.png").read_bytes())
    assert fast is not None  # else Pillow would have been compared with itself
    np.testing.assert_array_equal(fast, values)


def test_a_damaged_byte_in_the_pixels_is_no_radiograph(tmp_path):
    values = np.random.default_rng(0).integers(0, 256, (50, 30), dtype=np.uint8)
    Image.fromarray(values).save(tmp_path / "grey.png")
    data = bytearray((tmp_path / "grey.png").read_bytes())
    data[300] ^= 1
    (tmp_path / "grey.png").write_bytes(data)
    with pytest.raises(UserError, match=r"grey\.png"):
        read_image(tmp_path / "grey.png", for_size=20)


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.9])
def test_truncated_files_are_named(tmp_path, suffix, share):
    path = tmp_path / f"cut{suffix}"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)).save(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(UserError, match=f"cut{suffix}.*again") as caught:
        read_image(path)
    assert "\n" not in str(caught.value)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"absent\.png: no such image"):
        read_image(tmp_path / "absent.png")


def test_text_called_png(tmp_path):
    (tmp_path / "a.png").write_text("not an image")
    with pytest.raises(UserError, match=r"a\.png: cannot read"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize("shape", [(2, 6), (6, 2), (5, 2), (4, 4)])
def test_padding_centres_and_keeps_every_pixel(shape):
    square = pad_to_square(np.ones(shape), fill=0)
    side = max(shape)
    assert square.shape == (side, side)
    assert square.sum() == shape[0] * shape[1]
    weights = np.arange(side) - (side - 1) / 2
    assert abs((square.sum(0) * weights).sum() / square.sum()) <= 0.5
    assert abs((square.sum(1) * weights).sum() / square.sum()) <= 0.5


def test_resize_keeps_constants_and_averages_fine_patterns():
    np.testing.assert_allclose(resize(np.full((40, 40), 0.3), 8), 0.3, atol=1e-6)
    checkerboard = np.indices((64, 64)).sum(0) % 2
    np.testing.assert_allclose(resize(checkerboard.astype(np.float32), 8), 0.5, atol=0.02)  # no aliasing


def test_prepare_keeps_the_aspect_ratio_and_the_sides(tmp_path):
    pixels = np.zeros((32, 16), dtype=np.uint8)
    pixels[:, :4] = 255  # bright on the image's left
    Image.fromarray(pixels).save(tmp_path / "a.png")
    image = prepare(tmp_path / "a.png", 32)
    assert image.shape == (32, 32) and image.dtype == np.float32
    np.testing.assert_array_equal(image[:, 8:12], 1)
    np.testing.assert_array_equal(image[:, :8], -1)
    np.testing.assert_array_equal(image[:, 12:], -1)


def test_inversion_leaves_the_padding_black(tmp_path):
    Image.fromarray(np.zeros((32, 16), dtype=np.uint8)).save(tmp_path / "a.png")
    image = prepare(tmp_path / "a.png", 32, inverted=True)
    assert (image[:, 8:24] == 1).all()
    assert (image[:, :8] == -1).all() and (image[:, 24:] == -1).all()


def test_prepared_values_stay_in_range(tmp_path):
    Image.fromarray(np.random.default_rng(0).choice([0, 255], (50, 70)).astype(np.uint8)).save(tmp_path / "a.png")
    image = prepare(tmp_path / "a.png", 33)
    assert image.min() >= -1 and image.max() <= 1


def test_the_two_ranges_are_inverse():
    every = np.arange(256, dtype=np.uint8)
    np.testing.assert_array_equal(from_model(to_model(every)), every)
    np.testing.assert_allclose(to_model(np.array([0.0, 0.5, 1.0])), [-1, 0, 1])
    np.testing.assert_array_equal(from_model(np.array([-3.0, 3.0])), [0, 255])


def test_real_radiographs(shared_data):
    paths = sorted((shared_data / "nih_cxr14" / "images").glob("*.jpg"))[:3]
    for path in paths:
        image = prepare(path, 64)
        assert image.shape == (64, 64)
        assert image.std() > 0.1

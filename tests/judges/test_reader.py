"""The reader: from a folder to answers, the same whatever the batch."""

import shutil

import numpy as np
import pytest
import torch

from gen.errors import UserError
from gen.judges.frontal import frontal_problems
from gen.judges.reader import Reader
from gen.models.classifier import RadiographClassifier
from gen.phantom.study import make_study


@pytest.fixture
def reader(tiny_reader_dir):
    return Reader.load(tiny_reader_dir)


@pytest.fixture
def images():
    return torch.rand(5, 1, 48, 48, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_answers_have_their_shapes_and_ranges(reader, images):
    reading = reader.read(images)
    assert reading.findings.shape == (5, len(reader.labels)) and reading.view.shape == (5, len(reader.views))
    assert reading.features.shape == (5, reader.width) == (5, 12)
    for values in (reading.sex_female, reading.child, reading.findings):
        assert 0 <= values.min() and values.max() <= 1
    torch.testing.assert_close(reading.view.sum(1), torch.ones(5))
    assert reading.age.shape == (5,) and 0 <= reading.age.min() <= reading.age.max() <= 110


def test_an_image_is_read_alone_as_in_company(reader, images):
    together = reader.read(images)
    alone = [reader.read(image[None]).findings for image in images]
    torch.testing.assert_close(torch.cat(alone), together.findings)
    assert reader.read(images[:0]).age.shape == (0,)


def test_brightness_and_contrast_do_not_matter(reader, images):
    torch.testing.assert_close(
        reader.read(0.5 * images - 0.3).features, reader.read(images).features, atol=1e-4, rtol=0
    )


def test_a_wide_image_is_padded_not_squeezed(reader, images):
    wide = images[..., :24, :]
    padded = torch.nn.functional.pad(wide, (0, 0, 12, 12), value=-1.0)
    torch.testing.assert_close(reader.read(wide).features, reader.read(padded).features)


def test_another_network_may_tell_the_view(reader, images):
    torch.manual_seed(1)
    shape = {"widths": (4,), "blocks": (1,), "features": 4, "resolution": 32}
    viewer = Reader(RadiographClassifier((), views=("LATERAL", "PA"), **shape), "other")
    both, reading = reader.seeing_by(viewer), reader.read(images)
    assert both.views == ("LATERAL", "PA") and reader.views != both.views
    torch.testing.assert_close(both.read(images).view, viewer.read(images).view)
    for name in ("findings", "features", "age"):
        torch.testing.assert_close(getattr(both.read(images), name), getattr(reading, name))
    assert both.fingerprint not in (reader.fingerprint, viewer.fingerprint)


def test_fingerprint_follows_weights_and_config(reader, tiny_reader_dir, tmp_path):
    folder = tmp_path / "other"
    shutil.copytree(tiny_reader_dir, folder)
    assert Reader.load(folder).fingerprint == reader.fingerprint
    (folder / "config.json").write_text((folder / "config.json").read_text().replace("Cardiomegaly", "Mass"))
    assert Reader.load(folder).fingerprint != reader.fingerprint


@pytest.mark.parametrize("wrong", [torch.zeros(2, 3, 8, 8), torch.zeros(1, 8, 8), torch.full((1, 1, 8, 8), 255.0)])
def test_other_tensors_are_refused(reader, wrong):
    with pytest.raises(ValueError, match="images must"):
        reader.read(wrong)


def test_other_folders_are_refused(tmp_path, tiny_lungs_dir, tiny_reader_dir):
    with pytest.raises(UserError, match="no RadiographClassifier here"):
        Reader.load(tmp_path)
    with pytest.raises(UserError, match="holds a ChestSegmenter"):
        Reader.load(tiny_lungs_dir)
    folder = tmp_path / "cut"
    shutil.copytree(tiny_reader_dir, folder)
    weights = next(folder.glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(UserError, match="not a usable RadiographClassifier"):
        Reader.load(folder)


@pytest.mark.parametrize("view", ["PA", "LATERAL"])
def test_the_shipped_readers_tell_views_and_only_frontal_ones_pass(view):
    """On phantoms that nothing was trained on."""
    shots = [make_study(seed).shoot(view, 128).image for seed in (901, 902)]
    images = torch.from_numpy(np.stack(shots)).float()[:, None] * 2 - 1
    reader = Reader.load()
    assert [reader.views[place] for place in reader.read(images).view.argmax(1)] == [view, view]
    assert all((view == "PA") == (problem == "") for problem in frontal_problems(images)), frontal_problems(images)

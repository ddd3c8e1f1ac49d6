"""Privacy figures on sets whose answer is known: planted copies, a generator that memorised, prompts with marks."""

import io

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from gen.data.images import to_model
from gen.eval import copies, membership, patients, recalled_prompts
from gen.eval.alterations import altered, turned
from gen.eval.copy_metric import copy_metric
from gen.eval.networks import random_network
from gen.eval.registration import best_correlation, details_after_turning, registered
from gen.eval.section import Section
from gen.judges.neighbours import nearest
from gen.models.denoiser import Denoiser, student_of
from gen.pipeline import WEIGHTS

RNG = np.random.default_rng


@pytest.fixture(scope="module")
def thumbnails():
    """1,000 synthetic and 400 training thumbnails, all different pictures with texture of their own."""
    from scipy.ndimage import gaussian_filter

    rng = RNG(0)
    body = gaussian_filter(rng.normal(size=(64, 64)), 12)
    body *= 60 / np.abs(body).max()
    textures = rng.normal(size=(1400, 64, 64)).astype(np.float32)
    pictures = 128 + body + 40 * gaussian_filter(textures, (0, 2.5, 2.5)) * 6
    return np.split(np.clip(pictures, 0, 255).astype(np.uint8), [1000])


def test_ten_planted_copies_in_a_thousand_are_found_and_nothing_else(thumbnails):
    made, train = thumbnails[0].copy(), thumbnails[1]
    at = np.arange(10) * 97
    for number, row in enumerate(at):
        changed = train[number * 31].astype(np.float32)
        changed = 255 * (changed / 255) ** (0.8 + 0.05 * number)  # another gamma each,
        made[row] = np.roll(changed, number % 2, axis=0) * 0.9 + RNG(number).normal(0, 4, (64, 64)) + 10  # moved, noisy
    found = {a: b for a, b, _ in copies.confirmed(made, train)}
    assert sorted(found) == at.tolist()
    assert all(found[row] == number * 31 for number, row in enumerate(at))


def test_no_copy_is_found_where_there_is_none(thumbnails):
    assert copies.confirmed(*thumbnails) == []


def test_planted_copies_show_in_every_distance(context):
    planted = copies.plant(context)
    assert planted[1].shape == (20, 64, 64)
    for search in (copies.by_features, copies.by_pixels):
        found = search(context, planted)
        assert found.made.shape == (60,) and found.made_at.shape == (60, 3) and found.held_out.shape == (60,)
        assert np.median(found.planted) < 0.9 * np.median(found.made)


def saved_again(image, number):
    """Another gamma and contrast, moved by up to a pixel each way, noise, JPEG."""
    changed = 230 * (image / 255) ** (0.8 + 0.05 * number) + 10 + RNG(number).normal(0, 3, image.shape)
    moved = np.roll(changed.clip(0, 255).astype(np.uint8), (number % 2, -(number % 3 == 2)), axis=(0, 1))
    file = io.BytesIO()
    Image.fromarray(moved).save(file, "JPEG", quality=60 + 3 * number)
    return np.asarray(Image.open(file))


def test_ten_planted_copies_in_a_thousand_are_found_by_features_and_nothing_else(chest):
    """By features of a network that nobody trained, in the metric of copies."""
    network = random_network("")
    made = np.stack([chest(50_000 + number) for number in range(1000)])
    train = np.stack([chest(number) for number in range(400)])
    at, of = np.arange(10) * 97, np.arange(10) * 31
    made[at] = [saved_again(image, number) for number, image in enumerate(train[of])]
    features = lambda images: network(torch.from_numpy(to_model(images))[:, None]).features.numpy()  # noqa: E731
    metric = copy_metric(train[272:], features, RNG(1))
    candidates = nearest(features(made) @ metric, features(train) @ metric, 3)[1]
    found = {a: b for a, b, _ in registered(made[at], train, candidates[at])}
    assert found == dict(zip(range(10), of.tolist(), strict=True))
    rest = np.setdiff1d(np.arange(0, 1000, 12), at)  # laying all over one another would take a minute
    assert registered(made[rest], train, candidates[rest]) == []


def test_the_search_finds_what_was_planted(context):
    planted = copies.plant(context)
    train = context.pixels(context.train, 64)
    places = copies.by_features(context, planted).planted_at
    found = copies.copied(copies.planted_thumbnails(planted), train, places)
    right = [b == planted[0][a] for a, b, _ in found]
    assert all(right) and sum(right) >= 14  # of 20, by features of a random network


@pytest.mark.parametrize("degrees", [0.0, 4.0])
def test_an_image_correlates_with_itself_turned_back(chest, degrees):
    image = chest(3)
    moved = np.roll(turned(image, degrees, 1.03).clip(0, 255).astype(np.uint8), 2, axis=1)
    assert best_correlation(details_after_turning(moved), image) > 0.9
    assert best_correlation(details_after_turning(moved), chest(4)) < 0.8


def test_altered_copies_differ_from_the_original_and_from_one_another(chest):
    image = chest(1)
    first, second = altered(np.stack([image, image]), RNG(0))
    assert first.shape == image.shape and first.dtype == np.uint8
    assert (first != second).any() and (first != image).any()
    assert (altered(image[None], RNG(0))[0] == altered(image[None], RNG(0))[0]).all()


def test_patient_pairs_are_of_one_and_of_two_patients():
    names = np.array(["a", "a", "a", "b", "b", "c"])
    same, other = patients.patient_pairs(names, RNG(0))
    assert len(same) == 2
    assert (names[same[:, 0]] == names[same[:, 1]]).all() and (same[:, 0] != same[:, 1]).all()
    assert (names[other[:, 0]] != names[other[:, 1]]).all()


def test_patients_are_recognised_where_their_images_are_alike():
    names = np.array(["a", "a", "b", "b", "c"])
    alike = np.array([[0.0], [0.1], [5.0], [5.1], [9.0]])
    known, chance = patients.recognised(alike, names)
    assert known.tolist() == [True] * 4 and chance == pytest.approx(1 / 4)
    assert not patients.recognised(np.array([[0.0], [9.0], [0.1], [9.1], [0.05]]), names)[0].any()


def marked(context, prompts):
    context.synthetic["prompt"] = prompts
    section = Section("privacy", "")
    found = copies.by_pixels(context, copies.plant(context))
    recalled_prompts.judge_prompts(context, section, found)
    return section


def test_de_identification_marks_are_counted(context):
    prompts = ["Heart size is ___.", "Comparison: XXXX. Effusion.", "[**Name**] with cough"] + ["No finding."] * 57
    section = marked(context, prompts)
    assert section.figure("prompts with de-identification marks").value == pytest.approx(3 / 60)
    assert "3 prompts hold de-identification marks" in section.verdicts[0].text
    assert {row[0] for row in section.tables[0].rows} == {"___", "XXXX", "[**Name**]"}


def test_training_reports_as_prompts_are_counted(context):
    report = "There is a small left pleural effusion. Heart size normal."
    context.real["report"] = [report, *["Normal."] * (len(context.real) - 1)]
    section = marked(context, [f" {report.upper()} ", *["Normal."] * 59])
    assert section.figure("prompts that are a training report").value == pytest.approx(1 / 60)
    assert section.verdicts == []


def rows_of(count, source, ships=True):
    columns = {"image": [f"{source}{n}" for n in range(count)], "source": source, "may_ship": ships}
    return pd.DataFrame(columns | {"patient_id": [f"{source}{n}" for n in range(count)]})


def test_membership_compares_like_with_like(context):
    train = pd.concat([rows_of(80, "a"), rows_of(5, "b"), rows_of(90, "c", ships=False)]).assign(split="train")
    test = pd.concat([rows_of(40, "a"), rows_of(60, "b"), rows_of(20, "c")]).assign(split="test")
    context.real = pd.concat([train, test], ignore_index=True)
    members, others = membership.candidates(context)
    assert members["source"].value_counts().to_dict() == others["source"].value_counts().to_dict() == {"a": 40, "b": 5}
    assert set(members["split"]) == {"train"} and set(others["split"]) == {"test"}


def test_losses_are_the_same_in_any_batch_and_every_run(tiny_pipeline, monkeypatch):
    pixels = RNG(0).integers(0, 255, size=(3, 32, 32)).astype(np.uint8)
    prompts = ["PA chest radiograph.", "AP chest radiograph.", "Cardiomegaly."]
    whole = membership.denoising_losses(tiny_pipeline, pixels, prompts)
    assert np.isfinite(whole).all() and len(set(whole.tolist())) == 3
    monkeypatch.setattr(membership, "BATCH", 1)
    assert membership.denoising_losses(tiny_pipeline, pixels, prompts) == pytest.approx(whole, rel=1e-4)


def test_a_student_without_its_teacher_is_told_why(context, tiny_pipeline, tmp_path):
    tiny_pipeline.unet = student_of(Denoiser(tiny_pipeline.unet), 32).backbone
    tiny_pipeline.save_pretrained(tmp_path / "fast")
    context.model = str(tmp_path / "fast")
    section = Section("privacy", "")
    membership.judge_membership(context, section)
    assert [verdict.kind for verdict in section.verdicts] == ["unclear"]
    assert "fast draws in few steps" in section.verdicts[0].text and "with --model" in section.verdicts[0].text


def test_a_students_losses_are_those_of_the_model_that_taught_it(context):
    """The shipped few-step text model builds upon its teacher; beside the view model there is but a text model."""
    context.model = str(WEIGHTS / "text_256_fast")
    assert not Denoiser(membership.generator_of(context).unet).embeds_guidance
    context.model = str(WEIGHTS / "view_256")
    with pytest.raises(membership.NoLosses, match="view_256 draws in few steps .*with --model"):
        membership.generator_of(context)

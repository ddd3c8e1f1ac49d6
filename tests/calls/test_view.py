"""`pipe(...)` for view models: studies, angles, several views of one patient, and what is refused."""

import numpy as np
import pytest
import torch
from PIL import Image

from gen.calls.view import said_of, view_batch
from gen.errors import UserError
from gen.pipeline import CXRPipeline

PROMPT = "Chest radiograph of a 60-year-old woman with cardiomegaly."
FAST = {"steps": 2, "progress": False}


def picture(number: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(number).integers(0, 255, (32, 32), dtype=np.uint8))


def pixels(out) -> np.ndarray:
    return np.stack([np.asarray(image, dtype=float) for image in out.images])


def test_text_models_take_a_view_as_before_and_nothing_else(tiny_pipeline):
    assert tiny_pipeline(PROMPT, view="LATERAL", **FAST).records[0].view == "LATERAL"
    for given in ({"study": [picture(0)]}, {"angle": 30.0}, {"views": ["PA", "LATERAL"]}):
        with pytest.raises(UserError, match=f"{next(iter(given))}: cxr-gen is of task text"):
            tiny_pipeline(PROMPT, **given, **FAST)


def test_a_study_counts_and_its_order_does_not(view_pipeline):
    study = [(picture(1), "PA"), (picture(2), "LATERAL"), picture(3)]
    plain, given = (pixels(view_pipeline(PROMPT, view="AP", study=s, **FAST)) for s in ((), study))
    assert np.abs(plain - given).max() > 5
    turned = pixels(view_pipeline(PROMPT, view="AP", study=study[::-1], **FAST))
    assert np.abs(turned - given).max() <= 1
    other = pixels(view_pipeline(PROMPT, view="AP", study=[picture(4)], **FAST))
    assert np.abs(other - given).max() > 5


def test_files_arrays_and_images_are_the_same_study(view_pipeline, tmp_path):
    image = picture(1)
    image.save(tmp_path / "pa.png")
    forms = [image, tmp_path / "pa.png", str(tmp_path / "pa.png"), np.asarray(image) / np.float32(255)]
    drawn = [pixels(view_pipeline(PROMPT, study=form, **FAST)) for form in forms]
    for one in drawn[1:]:
        assert np.abs(one - drawn[0]).max() <= 1


def test_angle_and_view_count(view_pipeline):
    drawn = [pixels(view_pipeline(PROMPT, angle=angle, **FAST)) for angle in (None, 10.0, 370.0 - 360.0, 80.0)]
    assert np.abs(drawn[0] - drawn[1]).max() > 0 and np.abs(drawn[1] - drawn[3]).max() > 0
    assert np.array_equal(drawn[1], drawn[2])


def test_images_of_a_study_may_be_turned(view_pipeline):
    study = lambda view: [(picture(1), view)]  # noqa: E731
    drawn = {view: pixels(view_pipeline(PROMPT, study=study(view), **FAST)) for view in ("", 30.0, "30", "-20")}
    assert np.array_equal(drawn[30.0], drawn["30"])
    assert np.abs(drawn["30"] - drawn["-20"]).max() > 0 and np.abs(drawn["30"] - drawn[""]).max() > 0
    batch = view_batch(view_pipeline, [PROMPT], [None], [[*study("30"), *study("pa")]])
    assert batch["context_view"] == ["|PA"] and batch["context_angle"] == ["30|"]
    assert said_of(view_pipeline, None, study(30.0)).startswith("30 ")


def test_records_name_what_was_given(view_pipeline):
    out = view_pipeline(PROMPT, view="LATERAL", study=[(picture(1), "pa")], angle=80, **FAST)
    said = out.records[0].given
    assert said.startswith("angle 80; PA ") and said == said_of(view_pipeline, 80, [(picture(1), "PA")])
    assert said != said_of(view_pipeline, 80, [(picture(2), "PA")]) and out.records[0].task == "view"


def test_several_views_of_each_patient(view_pipeline):
    views = ["PA", "LATERAL"]
    out = view_pipeline([PROMPT, "Chest radiograph."], views=views, seed=5, **FAST)
    assert [(record.view, record.seed) for record in out.records] == [
        ("PA", 5),
        ("LATERAL", 5),
        ("PA", 6),
        ("LATERAL", 6),
    ]
    first = view_pipeline(PROMPT, view="PA", seed=5, **FAST)
    second = view_pipeline(PROMPT, view="LATERAL", study=[(first.images[0], "PA")], seed=5, **FAST)
    assert np.abs(pixels(out)[0] - pixels(first)[0]).max() <= 1
    assert np.abs(pixels(out)[1] - pixels(second)[0]).max() <= 1
    latents = view_pipeline(PROMPT, views=views, output_type="latent", **FAST).images
    arrays = view_pipeline(PROMPT, views=views, output_type="np", **FAST).images
    assert latents.shape == (2, 4, 8, 8) and arrays.shape == (2, 32, 32)


def test_a_model_keeps_its_conditioner(view_pipeline, tmp_path):
    view_pipeline.save_pretrained(tmp_path / "again")
    again = CXRPipeline.from_pretrained(tmp_path / "again")
    assert not again.conditioner.training and again.conditioner.config.grid == 2
    study = [(picture(1), "PA")]
    drawn = [pixels(pipe(PROMPT, view="LATERAL", study=study, **FAST)) for pipe in (view_pipeline, again)]
    assert np.array_equal(*drawn)


def test_rows_of_a_batch_have_their_own_studies(view_pipeline):
    image = picture(1)
    batch = view_batch(
        view_pipeline, [PROMPT] * 3, [None, 30.0, None], [[(image, "PA")], [], [image, image, image, image]]
    )
    assert batch["link_context_mask"].sum(1).tolist() == [1, 0, 3]
    assert batch["context_view"] == ["PA", "", "||"]
    torch.testing.assert_close(batch["link_context"][0, 0], batch["link_context"][2, 2])
    assert not batch["link_context"][1].any()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"view": "OBLIQUE"}, "view=OBLIQUE: one of PA"),
        ({"study": [picture(0)] * 4}, "study: 4 images; at most 3"),
        ({"study": [(picture(0), "SIDE")]}, "study: view 'SIDE': one of PA"),
        ({"study": [(picture(0), "400")]}, "study: view '400': degrees, from -360"),
        ({"study": [(picture(0), float("nan"))]}, "study: view nan: degrees"),
        ({"angle": 400.0}, "angle=400.0: degrees"),
        ({"angle": float("nan")}, "angle=nan: degrees"),
        ({"views": []}, "views: at least one"),
        ({"views": ["PA", "AP"], "angle": 3.0}, "angle only for one"),
    ],
)
def test_misfits_are_refused(view_pipeline, given, said):
    with pytest.raises(UserError, match=said):
        view_pipeline(PROMPT, **given, **FAST)

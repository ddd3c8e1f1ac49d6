import numpy as np
import pytest

from gen.data.prompts import normalise_findings, parse_prompt
from gen.errors import UserError
from gen.phantom.anatomy import growth, make_patient
from gen.phantom.body import GROUND_VOLUME
from gen.phantom.devices import DEVICES
from gen.phantom.findings import LABELS, SIZES, Finding
from gen.phantom.geometry import Slab
from gen.phantom.regions import fill
from gen.phantom.shot import BONES, scene
from gen.phantom.study import Study, make_study
from gen.phantom.technique import technique

SMALL = 96


def with_findings(study: Study, *findings: Finding) -> Study:
    return Study(study.seed, study.patient, findings)


def columns_of(mask: np.ndarray) -> np.ndarray:
    return np.nonzero(mask.any(0))[0]


def test_the_same_seed_gives_the_same_bits_and_another_seed_does_not():
    first, again, other = (make_study(seed, findings=["edema"]).shoot("PA", SMALL) for seed in (5, 5, 6))
    assert first.image.tobytes() == again.image.tobytes() and first.bone.tobytes() == again.bone.tobytes()
    assert not np.array_equal(first.image, other.image)


def test_views_of_a_patient_do_not_depend_on_their_order(healthy):
    lateral = make_study(11, sex="M", age=40, findings=[], devices=[]).shoot("LATERAL", SMALL)
    healthy.shoot("AP", SMALL)
    assert np.array_equal(healthy.shoot("LATERAL", SMALL).image, lateral.image)


def test_any_angle_is_a_view(healthy):
    front, turned = (healthy.shoot("PA", SMALL, angle=angle, noise=False).image for angle in (0.0, 30.0))
    assert np.abs(front - turned).mean() > 0.02


def test_apex_and_knob_are_on_the_images_right(shot):
    spine = columns_of(shot.masks["spine"]).mean()
    heart, aorta = columns_of(shot.masks["heart"]), columns_of(shot.masks["aorta"])
    assert heart.max() - spine > 1.4 * (spine - heart.min())
    assert aorta.max() - spine > spine - aorta.min()
    assert columns_of(shot.masks["lung_left"]).mean() > spine > columns_of(shot.masks["lung_right"]).mean()


def test_lungs_are_dark_and_the_abdomen_is_bright(shot):
    lungs = (shot.masks["lung_left"] | shot.masks["lung_right"]) & ~shot.masks["heart"] & ~shot.masks["spine"]
    below = np.nonzero(lungs.any(1))[0].max()
    assert shot.image[lungs].mean() + 0.15 < shot.image[below + 2 :, 50:78].mean()


def test_soft_and_bone_add_up_to_the_radiograph(healthy):
    shot = healthy.shoot("PA", SMALL)
    assert np.allclose(shot.soft_attenuation + shot.bone_attenuation, shot.attenuation, atol=1e-5)
    bones = np.any([shot.masks[name] for name in BONES], axis=0)
    # scatter carries a little of the bones' shadow everywhere
    assert shot.bone_attenuation[bones].mean() > 5 * abs(shot.bone_attenuation[~bones].mean())
    assert shot.bone.max() == 1 and 0 <= shot.soft.min() and shot.soft.max() <= 1


def test_ribs_vanish_from_the_soft_image(shot):
    lung = shot.masks["lung_left"] & ~shot.masks["heart"]

    def steps(image: np.ndarray) -> np.ndarray:
        return (image.astype(float) - np.roll(image.astype(float), 3, axis=0))[lung]

    def likeness(image: np.ndarray) -> float:
        return float(np.corrcoef(steps(image), steps(shot.masks["ribs"]))[0, 1])

    assert likeness(shot.attenuation) > 0.15 and likeness(shot.soft_attenuation) < 0.05


def test_the_heart_is_larger_from_the_front_and_with_cardiomegaly(healthy):
    def ratio(study: Study, view: str) -> float:
        shot = study.shoot(view, 128, noise=False, angle=0.0 if view == "PA" else 180.0)
        lungs = shot.masks["lung_left"] | shot.masks["lung_right"]
        return np.ptp(columns_of(shot.masks["heart"])) / np.ptp(columns_of(lungs))

    normal = ratio(healthy, "PA")
    assert 0.35 < normal < 0.52
    assert ratio(healthy, "AP") > normal
    large = with_findings(healthy, Finding("cardiomegaly", 1.4))
    assert ratio(large, "PA") > max(normal + 0.08, 0.5)


@pytest.mark.parametrize(
    ("kind", "size", "sign"),
    [
        ("effusion", 700.0, 1),
        ("consolidation", 350.0, 1),
        ("atelectasis", 250.0, 1),
        ("pneumothorax", 500.0, -1),
        ("mass", 60.0, 1),
    ],
)
def test_masks_say_where_the_image_changes(healthy, shot, kind, size, sign):
    place = tuple(float(v) for v in healthy.body.grounds["lung_right"].mean(0))
    after = with_findings(healthy, Finding(kind, size, "lung_right", place, 3)).shoot("PA", 128, noise=False)
    change = sign * (after.attenuation - shot.attenuation)
    mask = after.masks[f"{kind}_right"]
    assert mask.sum() > 100 and columns_of(mask).mean() < 64
    left = shot.masks["lung_left"] & ~mask & ~shot.masks["heart"]
    assert change[mask].mean() > 0.04 and change[mask].mean() > 3 * abs(change[left].mean())


@pytest.mark.parametrize("kind", ["effusion", "atelectasis", "pneumothorax"])
def test_the_other_lung_keeps_its_vessels(healthy, kind):
    size = np.sqrt(SIZES[kind][0] * SIZES[kind][1])
    ill = with_findings(healthy, Finding(kind, size, "lung_left"))
    how = technique(healthy.patient, 1, "PA", 128)
    paths = [scene(study.body, study.findings, (), how).organs["vessels"] for study in (healthy, ill)]
    right = slice(0, 56)
    assert paths[1][:, right].sum() == pytest.approx(paths[0][:, right].sum(), rel=0.02)
    assert paths[1][:, 72:].sum() < 0.97 * paths[0][:, 72:].sum()


def test_an_effusion_whitens_the_costophrenic_angle(healthy, shot):
    lung = shot.masks["lung_left"]
    rows, columns = np.nonzero(lung)
    angle = lung & (np.arange(128) > np.quantile(columns, 0.85)) & (np.arange(128)[:, None] > np.quantile(rows, 0.85))
    place = (0.0, 0.0, 0.0)
    after = with_findings(healthy, Finding("effusion", 400.0, "lung_left", place)).shoot("PA", 128, noise=False)
    assert after.masks["effusion_left"][angle].mean() > 0.9
    assert after.attenuation[angle].mean() > shot.attenuation[angle].mean() + 0.2


@pytest.mark.parametrize("kind", ["effusion", "consolidation", "atelectasis", "pneumothorax"])
def test_a_region_holds_its_volume(healthy, kind):
    place = tuple(float(v) for v in healthy.body.grounds["lung_left"].mean(0))
    points = healthy.body.grounds["lung_left"].astype(np.float32)
    region = fill(healthy.body, Finding(kind, 300.0, "lung_left", place)).region
    inside = region(Slab(points[:, 0], points[:, 1], points[:, 2], 0.0)) < 0
    assert inside.sum() * GROUND_VOLUME == pytest.approx(300, rel=0.03)


def test_a_nodule_is_as_large_as_it_says(healthy):
    place = tuple(float(v) for v in healthy.body.grounds["lung_right"].mean(0))
    shot = with_findings(healthy, Finding("nodule", 24.0, "lung_right", place)).shoot("PA", 256, noise=False)
    scale = shot.technique.geometry.pixel / shot.technique.geometry.magnification(np.array(place))
    width = len(columns_of(shot.masks["nodule_right"])) * scale
    assert 17 < width < 33


@pytest.mark.parametrize("kind", list(DEVICES))
def test_devices_are_bright_where_their_mask_is(healthy, shot, kind):
    after = Study(healthy.seed, healthy.patient, (), (kind,)).shoot("PA", 128, noise=False)
    mask = after.masks[kind]
    change = after.attenuation - shot.attenuation
    assert mask.sum() > 4 and change[mask].mean() > 0.01 and change[mask].mean() > 20 * abs(np.median(change[~mask]))


def test_children_are_smaller_with_larger_hearts():
    ages = (1, 5, 12, 30)
    assert np.all(np.diff([growth(age) for age in ages]) > 0)
    hearts = [np.mean([make_patient(seed, "M", age).heart for seed in range(30)]) for age in (1, 30)]
    assert hearts[0] > hearts[1] + 0.1
    widths = [np.mean([make_patient(seed, sex, 40).stretch[0] for seed in range(30)]) for sex in "FM"]
    assert widths[0] < widths[1] - 0.05


def test_labels_prompt_and_report_agree():
    study = make_study(3, sex="F", age=61, findings=["effusion", "nodule"], devices=["pacemaker"])
    assert study.labels == ["Nodule", "Pleural Effusion", "Support Devices"]
    said = parse_prompt(study.prompt("AP"))
    assert (said["view"], said["sex"], said["age"]) == ("AP", "F", 61)
    assert set(normalise_findings(said["findings"])) == set(study.labels)
    assert "pleural effusion" in study.report and "pacemaker" in study.report and "pneumothorax" in study.report
    assert set(parse_prompt(study.report)["findings"].split(";")) == set(study.labels)
    assert make_study(3, findings=[], devices=["sponge"]).labels == ["No Finding"]
    assert set(LABELS) == set(SIZES)


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (lambda: make_patient(0, "X"), "sex 'X'"),
        (lambda: make_patient(0, "M", -1), "age -1"),
        (lambda: make_study(0, findings=["flu"]), "finding 'flu'"),
        (lambda: make_study(0, devices=["drain"]), "device 'drain'"),
        (lambda: make_study(0).shoot("OBLIQUE"), "view 'OBLIQUE'"),
        (lambda: make_study(0).shoot("PA", 100), "size 100"),
    ],
)
def test_refusals_name_the_value(call, word):
    with pytest.raises(UserError, match=word):
        call()

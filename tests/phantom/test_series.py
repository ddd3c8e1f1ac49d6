import pytest

from gen.errors import UserError
from gen.phantom.findings import Finding
from gen.phantom.series import CODES, Event, change, draw_events, follow
from gen.phantom.study import Study, make_study


@pytest.fixture(scope="module")
def ill(healthy):
    return Study(
        healthy.seed,
        healthy.patient,
        (
            Finding("edema", 0.25),
            Finding("effusion", 500.0, "lung_left"),
            Finding("consolidation", 200.0, "lung_right"),
            Finding("atelectasis", 100.0, "lung_right"),
            Finding("mass", 40.0, "lung_left"),
        ),
    )


def sizes(study):
    return {finding.kind: finding.size for finding in study.findings}


def test_the_rule_is_the_stated_one(ill):
    later = sizes(follow(ill, [Event(0, "diuretic", 40), Event(0, "antibiotic", 1), Event(0, "intubation")], 24))
    assert later["edema"] == pytest.approx(0.25 * 0.94**12)
    assert later["effusion"] == pytest.approx(500 * 0.98**12)
    assert later["consolidation"] == pytest.approx(200 * 1.005**12 * 0.985**12)
    assert later["atelectasis"] == pytest.approx(100 * 0.96**24)
    assert later["mass"] == 40
    wet = sizes(follow(ill, [Event(2.5, "fluid", 1000)], 24))
    assert wet["edema"] == pytest.approx(0.31) and wet["effusion"] == pytest.approx(620)


def test_more_diuretic_and_more_time_leave_less(ill):
    doses = [sizes(follow(ill, [Event(1, "diuretic", mg)], 24))["edema"] for mg in (0, 20, 40, 80)]
    assert doses == sorted(doses, reverse=True) and doses[0] == 0.25 and doses[-1] < 0.1
    course = [Event(1, "diuretic", 40), Event(12, "diuretic", 40)]
    over = [sizes(follow(ill, course, hour))["effusion"] for hour in (0, 6, 12, 24)]
    assert over == sorted(over, reverse=True) and over[0] == 500


def test_the_tube_comes_and_goes(ill):
    events = [Event(3, "intubation"), Event(30, "extubation")]
    assert [("endotracheal_tube" in follow(ill, events, hour).devices) for hour in (2, 4, 29, 31)] == [0, 1, 1, 0]


def test_what_is_gone_is_gone_and_said(ill):
    later = follow(ill, [Event(0, "diuretic", 400)], 24)
    assert "edema" not in sizes(later) and "Edema" not in later.labels
    assert "The edema has resolved." in change(ill, later) and "The mass left is unchanged." in change(ill, later)


def test_the_image_follows(ill):
    before, after = (
        follow(ill, [Event(0, "fluid", 2000)], hour).shoot("PA", 96, noise=False).attenuation.mean() for hour in (0, 12)
    )
    assert after > before


def test_drawn_events_are_known_ordered_and_the_same_again():
    studies = [make_study(seed, findings=["edema", "consolidation"]) for seed in range(6)]
    for study in studies:
        events = draw_events(study, 72)
        assert events == draw_events(study, 72) == sorted(events, key=lambda event: event.hour)
        assert {event.code for event in events} <= set(CODES)
    assert any(event.unit == "mg" for study in studies for event in draw_events(study, 72))


@pytest.mark.parametrize(
    ("event", "hour", "word"),
    [
        (Event(0, "aspirin", 1), 5, "aspirin"),
        (Event(-1, "fluid", 1), 5, "fluid at hour -1"),
        (Event(0, "fluid", 1), -5, "hour -5"),
    ],
)
def test_refusals(ill, event, hour, word):
    with pytest.raises(UserError, match=word):
        follow(ill, [event], hour)

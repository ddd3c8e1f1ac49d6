"""A page to share: no picture and no file name of a radiograph that may not be passed on, and no words of a report."""

import numpy as np
import pytest

from gen.eval import copies, offenders

REPORT = "Mr Jones has a new pacemaker."


@pytest.fixture
def found(context):
    return copies.by_pixels(context, copies.plant(context))


def pictures(context, found, copied=frozenset()):
    return offenders.side_by_side(context, found, set(copied)).png


def blackened(context):
    """Forget what the real radiographs look like."""
    held = context._memory["pixels", offenders.PICTURE]
    held.update({image: np.zeros_like(held[image]) for image in context.train["image"] if image in held})


def test_without_sharing_real_radiographs_are_shown(context, found):
    shown = pictures(context, found)
    blackened(context)
    assert pictures(context, found) != shown
    assert offenders.withheld_note(context) == ""
    assert all(row[1].startswith("real_") for row in offenders.listed(context, found).rows)


@pytest.mark.parametrize("known", [True, False])
def test_nothing_of_what_may_not_be_passed_on_is_on_a_shared_page(context, found, known):
    context.share = True
    if known:
        context.real["may_ship"] = False
    context.synthetic["prompt"] = REPORT
    shown = pictures(context, found)
    blackened(context)
    assert pictures(context, found) == shown
    rows = offenders.listed(context, found).rows
    assert {row[1] for row in rows} == {offenders.WITHHELD} and not any("Jones" in row[3] for row in rows)
    assert "chest radiograph" in rows[0][3]
    assert offenders.copy_table(context, [(0, 0, 0.9)]).rows[0][1] == offenders.WITHHELD
    note = offenders.withheld_note(context)
    assert "90 of 90 training radiographs may not be passed on" in note and ("does not say" in note) is not known


def test_a_copy_of_such_a_radiograph_is_left_out_too(context, found):
    context.share = True
    first = int(offenders.worst(found)[0])
    assert pictures(context, found, {first}) != pictures(context, found)


def test_what_may_be_passed_on_is_shown(context, found):
    context.share = True
    context.real["may_ship"] = True
    shown = pictures(context, found)
    blackened(context)
    assert pictures(context, found) != shown
    assert "0 of 90" in offenders.withheld_note(context)

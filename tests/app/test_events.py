"""The event editor: what is typed into its rows is on the timeline, reaches the model, and is refused in one line."""

import pytest

LINE = "document.querySelector('#future-line').textContent"
FUTURES = "document.querySelectorAll('#future-images img').length"


@pytest.fixture
def editor(page, chest):
    """The tab of futures with a radiograph and few steps."""
    page.tab("Futures")
    page.upload("#future-file", chest)
    page.wait("document.querySelector('#future-file').innerText.includes('chest')")
    page.number("#future-steps", 2)
    return page


def test_an_event_that_is_typed_is_on_the_timeline_and_changes_the_futures(editor):
    assert "furosemide 40 mg" in editor.run(LINE)
    editor.click("#predict")
    editor.wait(f"{FUTURES} >= 2")
    first = editor.run("document.querySelector('#future-images img').src")
    editor.cell(0, 2, "80")
    editor.wait(f"{LINE}.includes('furosemide 80 mg')")
    editor.cell(0, 0, "-6")
    editor.click("#predict")
    editor.wait(f"{FUTURES} >= 2 && document.querySelector('#future-images img').src != '{first}'")
    assert editor.run("document.querySelectorAll('.toast-body').length") == 0


def test_a_row_more_with_a_code_that_the_model_does_not_know_is_drawn_with_a_warning(editor):
    editor.click("#future-add")
    editor.cell(1, 1, "morphine")
    editor.cell(1, 0, "12")
    editor.wait(f"{LINE}.includes('furosemide 40 mg') && {LINE}.includes('morphine')")
    editor.click("#predict")
    assert "event morphine: unknown to this model" in editor.told("morphine")
    editor.wait(f"{FUTURES} >= 2")


@pytest.mark.parametrize(
    ("column", "wrong", "right", "message"),
    [
        (3, "g", "mg", "event furosemide: unit 'g'; this model knows it in 'mg', convert it"),
        (0, "30", "6", "event furosemide: at 30 h, after the last visit at 24 h; ask for a later one as well"),
        (2, "much", "40", "event 1, value 'much': write a number, or leave it empty"),
    ],
)
def test_a_wrong_cell_is_one_line_and_mended_in_place(editor, column, wrong, right, message):
    editor.cell(0, column, wrong)
    editor.run("new Promise(done => setTimeout(done, 500))")
    editor.click("#predict")
    assert message in editor.told("event")
    assert editor.run(FUTURES) == 0
    editor.cell(0, column, right)
    editor.run("new Promise(done => setTimeout(done, 500))")
    editor.click("#predict")
    editor.wait(f"{FUTURES} >= 2")


def test_a_row_without_an_hour_is_asked_for_it(editor):
    editor.cell(0, 0, "")
    assert "event 1: give its hour after the radiograph" in editor.told("event 1")

"""Running the same command again: after a lost file, a signal, a kill, or with something changed."""

import os
import signal
import threading
import time

import pytest

PROMPT = "PA chest radiograph with a pleural effusion."


def stamps(folder) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("*.png")}


def contents(folder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_only_lost_and_damaged_files_are_drawn_again(draw, tmp_path):
    run = ("--prompt", PROMPT, "--n", 4, "--batch-size", 1, "--out", tmp_path)
    draw(*run)
    before, times = contents(tmp_path), stamps(tmp_path)
    (tmp_path / "000001_seed1.png").unlink()
    (tmp_path / "000002_seed2.png").write_bytes(before["000002_seed2.png"][:100])
    assert draw(*run)[0] == 0
    assert contents(tmp_path) == before
    kept = {name for name, time_ in stamps(tmp_path).items() if time_ == times[name]}
    assert kept == {"000000_seed0.png", "000003_seed3.png"}


def test_finished_run_draws_nothing(draw, tmp_path):
    run = ("--prompt", PROMPT, "--n", 2, "--out", tmp_path)
    draw(*run)
    times = stamps(tmp_path)
    assert draw(*run)[0] == 0
    assert stamps(tmp_path) == times


def test_more_images_go_on(draw, manifest, tmp_path):
    draw("--prompt", PROMPT, "--n", 2, "--out", tmp_path)
    times = stamps(tmp_path)
    draw("--prompt", PROMPT, "--n", 3, "--out", tmp_path)
    assert len(manifest(tmp_path)) == 3
    assert times.items() <= stamps(tmp_path).items()


def test_new_columns_reach_kept_rows(draw, manifest, tmp_path):
    table = tmp_path / "prompts.csv"
    table.write_text("prompt\nClear lungs.\n")
    draw("--table", table, "--out", tmp_path / "set")
    table.write_text("prompt,ward\nClear lungs.,A\n")
    draw("--table", table, "--out", tmp_path / "set")
    assert [row["ward"] for row in manifest(tmp_path / "set")] == ["A"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("--steps", 3), "drawn with steps '2', now '3'"),
        (("--guidance", 4), "drawn with guidance"),
        (("--view", "PA"), "drawn with prompt"),
        (("--dtype", "float16"), "drawn with dtype"),
        (("--n", 1), "holds 000001_seed6.png"),
        (("--seed", 6), "holds 000000_seed5.png"),
        (("--format", "dicom"), "holds 000000_seed5.png"),
    ],
)
def test_other_settings_are_refused(draw, tmp_path, change, words):
    run = ("--prompt", "Clear lungs.", "--n", 2, "--seed", 5, "--out", tmp_path)
    draw(*run)
    before = contents(tmp_path)
    code, _, err = draw(*run, *change)
    assert code == 2 and words in err and err.count("\n") == 1
    assert contents(tmp_path) == before


def test_another_manifest_is_refused(draw, tmp_path):
    (tmp_path / "manifest.csv").write_text("parcel,weight\n1,2\n")
    code, _, err = draw("--prompt", PROMPT, "--out", tmp_path)
    assert code == 2 and "not a manifest of this command" in err
    assert set(contents(tmp_path)) == {"manifest.csv"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_ends_after_the_batch(draw, manifest, tmp_path, number):
    over = threading.Event()

    def send() -> None:
        while not over.is_set() and not list(tmp_path.glob("*.png")):
            time.sleep(0.001)
        if not over.is_set():
            os.kill(os.getpid(), number)

    sender = threading.Thread(target=send)
    sender.start()
    code, _, err = draw("--prompt", PROMPT, "--n", 300, "--batch-size", 2, "--out", tmp_path)
    over.set()
    sender.join()
    assert code == 128 + number
    assert "the same command goes on from here" in err.splitlines()[-1]
    names = {row["img_savename"] for row in manifest(tmp_path)}
    assert 0 < len(names) < 300 and len(names) % 2 == 0
    assert set(contents(tmp_path)) == names | {"manifest.csv"}


def test_kill_loses_a_batch_at_most(start, draw, manifest, tiny_pipeline_dir, tmp_path):
    arguments = ("--prompt", PROMPT, "--n", "30", "--batch-size", "1", "--out")
    options = ("image", "--model", str(tiny_pipeline_dir), "--steps", "2", "--device", "cpu")
    with (tmp_path / "errors").open("w") as errors:
        words = (*options, *arguments, tmp_path / "set")
        process = start("-m", "gen.sample.cli", *words, cwd=tmp_path, stderr=errors)
    while process.poll() is None and not list(tmp_path.glob("set/000003*.png")):
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    listed = {row["img_savename"] for row in manifest(tmp_path / "set")}
    drawn = {path.name for path in (tmp_path / "set").glob("0*.png")}
    assert 3 <= len(listed) < 30 and listed <= drawn and len(drawn - listed) <= 1
    times = stamps(tmp_path / "set")
    assert draw(*arguments, tmp_path / "set")[0] == 0
    assert len(manifest(tmp_path / "set")) == 30
    assert all(stamps(tmp_path / "set")[name] == times[name] for name in listed)

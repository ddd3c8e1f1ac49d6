"""Drawing a plan: the same bits however it is split, stopped and gone on with, and proof that nothing is missing."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import wandb
from PIL import Image

from gen import seeds
from gen.pipeline import CXRPipeline
from gen.provenance import read_record
from gen.sample.job import Order, Worker
from gen.sample.models import Painter, settings_of
from gen.sample.parts import FAN, Parts, part_names, read_manifest
from gen.sample.plan import read_plan
from gen.sample.split import Shard
from gen.sample.store import open_store

CONFIGS = Path(__file__).parents[2] / "configs" / "accelerate"


def rows_of(out) -> pd.DataFrame:
    return read_manifest(open_store(out)).to_pandas()


def test_a_set_is_whole_and_says_so(cxr_sample, draw_plan, make_plan, images, tmp_path):
    plan = make_plan(8)
    code, said, _ = draw_plan(plan, tmp_path / "set")
    assert code == 0 and "8 of 8 images" in said and "complete" in said
    drawn, rows = images(tmp_path / "set"), rows_of(tmp_path / "set")
    assert sorted(drawn) == [f"{number:04d}.png" for number in range(8)] == sorted(rows["file"].str[-8:])
    assert set(rows["status"]) == {"accepted"} and set(rows["view"]) == {"PA"} and set(rows["batch"]) == {3}
    record = read_record(tmp_path / "set" / rows["file"][5])
    assert (record.seed, record.prompt, record.synthetic) == (35, rows["prompt"][5], True)
    code, said, _ = cxr_sample("verify", tmp_path / "set")
    assert code == 0 and said.startswith("8 planned, 8 drawn, 0 given up, 0 rejected; whole\n8 images of 8 conditions")
    assert cxr_sample("verify", tmp_path / "set", plan)[0] == 0
    table = pd.read_csv(tmp_path / "set/prompts.csv")
    assert list(table) == ["prompt", "img_savename"] and len(table) == 8
    assert all((tmp_path / "set" / name).is_file() for name in table["img_savename"])
    lines = [json.loads(line) for line in (tmp_path / "set/metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["done"] == lines[-1]["total"] == 8
    with Image.open(tmp_path / "set/contact.png") as sheet:
        assert sheet.width > 4 * 256


def test_images_do_not_depend_on_the_split(cxr_sample, draw_plan, make_plan, images, tmp_path):
    plan = make_plan(10)
    draw_plan(plan, tmp_path / "one")
    for shard in ("2/3", "1/3", "3/3"):
        code, said, _ = draw_plan(plan, tmp_path / "three", "--shard", shard)
        assert code == 0 and ("complete" in said) == (shard == "3/3")
    draw_plan(make_plan(4, "first.parquet"), tmp_path / "other")  # the plan grew, and was cut anew
    draw_plan(plan, tmp_path / "other", "--shard", "1/2")
    draw_plan(plan, tmp_path / "other")
    assert images(tmp_path / "one") == images(tmp_path / "three") == images(tmp_path / "other")
    assert all(cxr_sample("verify", tmp_path / name)[0] == 0 for name in ("one", "three", "other"))


@pytest.mark.parametrize("size", [1, 2, 5])
def test_a_batch_of_one_size_has_the_same_bits_in_any_company(tiny_pipeline, size):
    prompts = [f"PA chest radiograph of a {age}-year-old woman." for age in range(20, 20 + size)]

    def drawn(order):
        painter = Painter(tiny_pipeline, settings_of(tiny_pipeline, 2, None), size, padded=True)
        pictures = painter.paint([prompts[k] for k in order], order)
        return dict(zip(order, (picture.pixels for picture in pictures), strict=True))

    together, backwards = drawn(list(range(size))), drawn(list(range(size))[::-1])
    alone = drawn([0])
    assert all((together[k] == backwards[k]).all() for k in range(size))
    assert (alone[0] == together[0]).all()


def test_only_what_is_lost_is_drawn_again(cxr_sample, draw_plan, make_plan, images, tmp_path):
    plan = make_plan(7)
    draw_plan(plan, tmp_path / "set")
    before, files = images(tmp_path / "set"), sorted((tmp_path / "set/images").rglob("*.png"))
    files[0].unlink()
    files[1].write_bytes(files[1].read_bytes()[:50])
    stamps = {path: path.stat().st_mtime_ns for path in files[1:]}
    code, said, _ = cxr_sample("verify", tmp_path / "set")
    assert code == 1 and "cannot be read" in said and "another checksum" in said and "NOT whole" in said
    assert draw_plan(plan, tmp_path / "set")[0] == 0
    assert images(tmp_path / "set") == before and cxr_sample("verify", tmp_path / "set")[0] == 0
    assert {path for path in files[1:] if path.stat().st_mtime_ns != stamps[path]} == {files[1]}


def test_recheck_finds_a_flipped_bit(cxr_sample, draw_plan, make_plan, images, tmp_path):
    plan = make_plan(4)
    draw_plan(plan, tmp_path / "set")
    before, file = images(tmp_path / "set"), next((tmp_path / "set/images").rglob("*.png"))
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    draw_plan(plan, tmp_path / "set")
    assert cxr_sample("verify", tmp_path / "set")[0] == 1
    draw_plan(plan, tmp_path / "set", "--recheck")
    assert cxr_sample("verify", tmp_path / "set")[0] == 0 and images(tmp_path / "set") == before


def test_verify_sees_what_is_missing_or_too_much(cxr_sample, draw_plan, make_plan, tmp_path):
    plan = make_plan(5)
    draw_plan(plan, tmp_path / "set", "--shard", "1/2")
    code, said, _ = cxr_sample("verify", tmp_path / "set")
    assert code == 1 and "has not been drawn" in said
    draw_plan(plan, tmp_path / "set")
    code, said, _ = cxr_sample("verify", tmp_path / "set", make_plan(4, "shorter.parquet"))
    assert code == 1 and "0004: is not in the plan" in said
    table = pd.read_parquet(plan)
    table.assign(seed=table["seed"] + (table["id"] == "0002")).to_parquet(tmp_path / "other.parquet")
    code, said, _ = cxr_sample("verify", tmp_path / "set", tmp_path / "other.parquet")
    assert code == 1 and said.splitlines()[0] == "0002: was not drawn with the plan's seed"


def test_temporary_files_are_no_results(cxr_sample, draw_plan, make_plan, tmp_path):
    plan = make_plan(2)
    draw_plan(plan, tmp_path / "set")
    stray = next((tmp_path / "set/images").rglob("*.png")).parent / ".0009.png.123.tmp"
    stray.write_bytes(b"half")
    (stray.parent / "0009.png").write_bytes(b"of a killed process")
    code, said, _ = cxr_sample("verify", tmp_path / "set")
    assert code == 0 and "1 image files without a row, 1 temporary files" in said
    draw_plan(plan, tmp_path / "set")
    assert not stray.exists()
    part = next((tmp_path / "set/manifest").glob("*.parquet"))
    shutil.copy(part, part.with_name(f".{part.name}.77.tmp"))  # a part whose writer died before the renaming
    assert cxr_sample("verify", tmp_path / "set")[0] == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("--steps", 3), "drawn with steps '2', now '3'"),
        (("--format", "png16"), "drawn with format 'png', now 'png16'"),
        (("--batch-size", 4), "drawn with batch_size '3', now '4'"),
    ],
)
def test_other_settings_are_refused(draw_plan, make_plan, tmp_path, change, words):
    plan = make_plan(2)
    draw_plan(plan, tmp_path / "set")
    before = sorted(path for path in (tmp_path / "set").rglob("*"))
    code, _, err = draw_plan(plan, tmp_path / "set", *change)
    assert code == 2 and words in err and err.count("\n") == 1
    assert before == sorted(path for path in (tmp_path / "set").rglob("*"))
    code, _, err = draw_plan(make_plan(2, "other.parquet", first=5), tmp_path / "set")
    assert code == 2 and "holds a set of another plan" in err


@pytest.mark.parametrize("shard", ["0/2", "3/2", "2", "a/b", "-1/2", "1/0"])
def test_bad_shards(draw_plan, make_plan, tmp_path, shard):
    code, _, err = draw_plan(make_plan(2), tmp_path / "set", f"--shard={shard}")
    assert code == 2 and f"--shard {shard}" in err and not (tmp_path / "set").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"id": ["a", "../b"]}, "row 2: column id has '../b'"),
        ({"id": ["a", "a"]}, "id 'a' is there twice"),
        ({"prompt": ["x", " "]}, "row 2: column prompt has ' '"),
        ({"seed": [1, -1]}, "row 2: column seed has -1"),
        ({"seed": ["x", "y"]}, "column 'seed' does not hold int64 values"),
        ({"view": ["PA", "LL"]}, "row 2: column view has 'LL'"),
        ({"sex": ["M", "W"]}, "row 2: column sex has 'W'"),
        ({"age": [3.0, 300.0]}, "row 2: column age has 300.0"),
        ({"prompt": None}, "column 'prompt' is missing"),
    ],
)
def test_bad_plans(draw_plan, tmp_path, change, words):
    table = pd.DataFrame({"id": ["a", "b"], "prompt": ["x", "y"], "seed": [1, 2]}).assign(**change)
    table.dropna(axis=1).to_parquet(tmp_path / "plan.parquet")
    code, _, err = draw_plan(tmp_path / "plan.parquet", tmp_path / "set")
    assert code == 2 and words in err and err.count("\n") == 1 and not (tmp_path / "set").exists()


def test_no_plan(draw_plan, tmp_path):
    assert "no such plan" in draw_plan(tmp_path / "nowhere.parquet", tmp_path / "set")[2]
    (tmp_path / "plan.parquet").write_text("id,prompt\n")
    code, _, err = draw_plan(tmp_path / "plan.parquet", tmp_path / "set")
    assert code == 2 and "not a readable Parquet table" in err


# ---- faults ---------------------------------------------------------------------------------------------------------


def test_killed_and_gone_on_with(start, cxr_sample, draw_plan, make_plan, images, tiny_pipeline_dir, tmp_path):
    plan, out = make_plan(30), tmp_path / "set"
    options = ["--model", str(tiny_pipeline_dir), "--steps", "2", "--device", "cpu", "--batch-size", "3"]
    with (tmp_path / "errors").open("w") as errors:
        process = start("-m", "gen.sample.cli", "run", plan, "--out", out, *options, cwd=tmp_path, stderr=errors)
    while process.poll() is None and len(list(out.glob("images/*/*.png"))) < 5:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    listed = set(rows_of(out)["id"])
    assert 0 < len(listed) < 30
    stamps = {path.stem: path.stat().st_mtime_ns for path in out.glob("images/*/*.png")}
    assert draw_plan(plan, out)[0] == 0 and cxr_sample("verify", out)[0] == 0
    assert all(
        path.stat().st_mtime_ns == stamps[path.stem] for path in out.glob("images/*/*.png") if path.stem in listed
    )
    draw_plan(plan, tmp_path / "straight")
    assert images(out) == images(tmp_path / "straight")


def test_a_signal_ends_after_the_batch(start, cxr_sample, draw_plan, make_plan, tiny_pipeline_dir, tmp_path):
    plan, out = make_plan(300), tmp_path / "set"
    options = ["--model", str(tiny_pipeline_dir), "--steps", "2", "--device", "cpu", "--batch-size", "3"]
    options += ["--format", "webdataset"]
    with (tmp_path / "errors").open("w") as errors:
        process = start("-m", "gen.sample.cli", "run", plan, "--out", out, *options, cwd=tmp_path, stderr=errors)
    while process.poll() is None and not (out / "contact.png").exists():
        time.sleep(0.005)
    process.send_signal(signal.SIGTERM)
    assert process.wait() == 128 + signal.SIGTERM
    assert "the same command goes on from here" in (tmp_path / "errors").read_text()
    rows = rows_of(out)
    assert 0 < len(rows) < 300 and len(list(out.glob("data/*.tar"))) == 1  # what waited has been written


def test_one_worker_a_shard_and_one_split_at_a_time(draw_plan, make_plan, tmp_path):
    from gen.sample.claims import claim

    plan, store = make_plan(2), open_store(tmp_path / "set")
    store.make()
    with claim(store, Shard(1, 2), lambda alone: None):
        code, _, err = draw_plan(plan, tmp_path / "set", "--shard", "1/2")
        assert code == 2 and "shard 1/2 is being drawn by another process" in err and err.count("\n") == 1
        code, _, err = draw_plan(plan, tmp_path / "set")
        assert code == 2 and "a run split into 2 is at work here, not 1" in err
        assert draw_plan(plan, tmp_path / "set", "--shard", "2/2")[0] == 0
    assert draw_plan(plan, tmp_path / "set")[0] == 0


class Scarce(CXRPipeline):
    """Runs out of memory like a GPU: halfway, with more than two images."""

    def __call__(self, prompt, **options):
        def look(pipeline, number, t, values):
            if number == 1 and len(values["latents"]) > 2:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.\nmore words")
            return values

        return super().__call__(prompt, callback_on_step_end=look, **options)


def test_out_of_memory_halves_the_batch(make_plan, tiny_pipeline_dir, tmp_path, capsys):
    pipeline, plan = Scarce.from_pretrained(tiny_pipeline_dir), read_plan(make_plan(9))
    store = open_store(tmp_path / "set")
    outcome = Worker(pipeline, plan, store, Order(steps=2, batch_size=8), Shard()).draw()
    assert outcome.complete and set(rows_of(tmp_path / "set")["batch"]) == {2}
    assert "going on with batches of 4" in capsys.readouterr().err
    notes = [json.loads(line).get("notes") for line in (tmp_path / "set/metrics.jsonl").read_text().splitlines()]
    assert [note[:35] for note in notes[0]] == ["out of memory: going on with batche"] * 2
    straight = Worker(pipeline, plan, open_store(tmp_path / "two"), Order(steps=2, batch_size=2), Shard())
    straight.draw()
    assert set(rows_of(tmp_path / "two")["sha256"]) == set(rows_of(tmp_path / "set")["sha256"])


def test_a_damaged_part_is_named(cxr_sample, draw_plan, make_plan, tmp_path):
    plan = make_plan(3)
    draw_plan(plan, tmp_path / "set")
    part = next((tmp_path / "set/manifest").glob("*.parquet"))
    part.write_bytes(part.read_bytes()[:-20])
    for code, _, err in (cxr_sample("verify", tmp_path / "set"), draw_plan(plan, tmp_path / "set")):
        assert code == 2 and part.name in err and "delete it" in err and err.count("\n") == 1
    part.unlink()
    assert draw_plan(plan, tmp_path / "set")[0] == 0 and cxr_sample("verify", tmp_path / "set")[0] == 0


# ---- gates ----------------------------------------------------------------------------------------------------------


@dataclass
class Said:
    passed: bool
    score: float
    reason: str


class Even:
    """Lets an image through whose pixels have an even sum, but none of number 3."""

    name = "even"
    settings = ""

    def check(self, images, items):
        sums = images.reshape(len(images), -1).sum(1, dtype=np.int64)
        odd = [bool(total % 2) or item.id == "0003" for total, item in zip(sums, items, strict=True)]
        return [Said(not wrong, float(total), "odd sum" * wrong) for wrong, total in zip(odd, sums, strict=True)]


def drawn_with_gate(pipeline, plan, out, tries=3, shard=None) -> pd.DataFrame:
    Worker(
        pipeline, plan, open_store(out), Order(steps=2, batch_size=3, max_tries=tries), shard or Shard(), [Even()]
    ).draw()
    return rows_of(out)


def test_what_a_gate_rejects_is_drawn_again(cxr_sample, make_plan, tiny_pipeline, tmp_path):
    plan = read_plan(make_plan(12))
    rows = drawn_with_gate(tiny_pipeline, plan, tmp_path / "set")
    final = rows[rows["status"] != "rejected"]
    assert sorted(final["id"]) == plan.ids and set(rows["status"]) == {"accepted", "rejected", "given up"}
    for row in rows.to_dict("records"):
        first = int(row["id"]) * 7
        assert row["seed"] == (seeds.mix(first, "try", row["try"]) if row["try"] else first)
        verdict = json.loads(row["verdicts"])["even"]
        assert (
            verdict["passed"] == (row["status"] == "accepted") and (verdict["reason"] == "odd sum") != verdict["passed"]
        )
        assert row["file"].startswith("images/" if verdict["passed"] else "rejects/")
        assert (tmp_path / "set" / row["file"]).is_file()
        total = np.asarray(Image.open(tmp_path / "set" / row["file"])).sum(dtype=np.int64)
        assert total == verdict["score"] and (total % 2 == 0 or not verdict["passed"])
    assert "0003" in set(final[final["status"] == "given up"]["id"])
    assert set(final[final["status"] == "given up"]["try"]) == {2}
    code, said, _ = cxr_sample("verify", tmp_path / "set")
    assert code == 0 and f"{(rows['status'] == 'given up').sum()} given up" in said


def test_tries_go_on_where_they_stopped_and_in_any_split(make_plan, tiny_pipeline, tmp_path):
    plan = read_plan(make_plan(12))
    whole = drawn_with_gate(tiny_pipeline, plan, tmp_path / "whole")
    for shard in (Shard(1, 2), Shard(2, 2)):
        halves = drawn_with_gate(tiny_pipeline, plan, tmp_path / "halves", shard=shard)
    store = open_store(tmp_path / "stopped")
    store.make()
    shutil.copytree(tmp_path / "whole", tmp_path / "stopped", dirs_exist_ok=True)
    for name in part_names(store):  # as if it had been killed after the first drawings
        store.delete(name)
    first = [row for row in read_manifest(open_store(tmp_path / "whole")).to_pylist() if row["try"] == 0]
    Parts(store, Shard(), 1).add(first)
    stopped = drawn_with_gate(tiny_pipeline, plan, tmp_path / "stopped")
    for other in (halves, stopped):
        pd.testing.assert_frame_equal(
            other[["id", "try", "status", "sha256"]], whole[["id", "try", "status", "sha256"]]
        )


# ---- the manifest ---------------------------------------------------------------------------------------------------


def test_parts_stay_few_and_no_row_is_lost(tmp_path):
    store = open_store(tmp_path)
    parts = Parts(store, Shard(), 1)
    most = 0
    for number in range(FAN * 3 + 5):
        parts.add([{"id": f"{number:05d}", "try": 0, "status": "accepted", "file": "x"}])
        most = max(most, len(part_names(store)))
    assert most < FAN + 3 and read_manifest(store).num_rows == FAN * 3 + 5
    parts.close()
    assert len(part_names(store)) == 1 and read_manifest(store).num_rows == FAN * 3 + 5


def test_the_row_of_the_later_run_counts(tmp_path):
    store = open_store(tmp_path)
    for run, size in ((2, 20), (1, 10)):  # whatever a clock says, or the order of the names
        Parts(store, Shard(), run).add([{"id": "a", "try": 0, "status": "accepted", "size": size}])
    assert read_manifest(store)["size"].to_pylist() == [20]


def test_a_process_takes_its_share_of_a_shard(draw_plan, make_plan, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank, named in ((0, "shard 2/6"), (1, "shard 5/6")):
        monkeypatch.setenv("RANK", str(rank))
        assert named in draw_plan(make_plan(9), tmp_path / "set", "--shard", "2/3")[1]
    monkeypatch.setenv("WORLD_SIZE", "1")
    monkeypatch.setenv("RANK", "0")
    _, said, _ = draw_plan(make_plan(9), tmp_path / "set", "--shard", "2/3")
    done, _, total = said.split()[:3]
    assert done == total == str(len(rows_of(tmp_path / "set")))


@pytest.mark.slow
def test_two_processes_by_accelerate(one_thread, cxr_sample, make_plan, images, draw_plan, tiny_pipeline_dir, tmp_path):
    plan, out = make_plan(9), tmp_path / "set"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(CONFIGS / "cpu2.yaml")]
    run = ["--main_process_port", port, "-m", "gen.sample.cli", "run", str(plan), "--out", str(out), "--device", "cpu"]
    options = ["--model", str(tiny_pipeline_dir), "--steps", "2", "--batch-size", "3"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    done = subprocess.run([*launch, *run, *options], capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "shard 1/2" in done.stdout and "shard 2/2" in done.stdout
    assert cxr_sample("verify", out)[0] == 0
    draw_plan(plan, tmp_path / "one")
    assert images(out) == images(tmp_path / "one")


def test_a_manifest_that_leads_out_of_the_set(cxr_sample, draw_plan, make_plan, tmp_path):
    plan, out = make_plan(2), tmp_path / "set"
    draw_plan(plan, out)
    (tmp_path / "mine.tar").write_text("not yours")
    store = open_store(out)
    rows = read_manifest(store).to_pylist()
    for file in ("../mine.tar", str(tmp_path / "mine.tar"), "data/../../mine.tar"):
        Parts(store, Shard(), 9).add([row | {"file": file, "member": ""} for row in rows])
        code, said, err = cxr_sample("verify", out)
        assert code == 1 and "leads out of the set" in said
        code, _, err = draw_plan(plan, out, "--recheck")
        assert code == 2 and "leads out of the set" in err and err.count("\n") == 1
        assert (tmp_path / "mine.tar").read_text() == "not yours"
        for name in part_names(store)[1:]:
            store.delete(name)


def test_wandb_offline_and_no_secret_anywhere(draw_plan, make_plan, tmp_path, monkeypatch):
    secret = "0123456789abcdef" * 2 + "01234567"
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_API_KEY", secret)
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    wandb.teardown()  # what it read of the environment in an earlier run of this process
    code, said, err = draw_plan(make_plan(2), tmp_path / "set", "--wandb", "cxr")
    assert code == 0 and list((tmp_path / "wandb").glob("offline-run-*"))
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert [path for path in files if secret.encode() in path.read_bytes()] == [] and secret not in said + err

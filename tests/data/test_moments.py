"""The moments store: what is written is read, what was not written is pending, another codec is refused."""

import multiprocessing
import os
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest

from gen.data import moments
from gen.data.moments import MomentsStore, fingerprint, image_keys
from gen.errors import UserError

SHAPE = (2, 8, 3, 3)
KEYS = ["a", "b", "c"]
SIGNATURE = [0.5, -1.0]


def test_values_survive_within_half_precision(tmp_path):
    store = MomentsStore.create(tmp_path, KEYS, SHAPE, "mark", SIGNATURE)
    values = np.random.default_rng(0).normal(0, 3, (3, *SHAPE)).astype(np.float32)
    for row in (2, 0, 1):
        store.write(row, values[row].astype(np.float16))
    opened = MomentsStore(tmp_path)
    assert opened.variants == 2 and opened.pending() == []
    opened.check_holds(KEYS)
    for row, key in enumerate(KEYS):
        for variant in range(2):
            read = opened[key, variant]
            assert read.dtype == np.float16 and read.shape == SHAPE[1:]
            np.testing.assert_allclose(read, values[row, variant], rtol=2**-10, atol=1e-7)
    opened["a", 0][:] = 7  # a copy
    np.testing.assert_array_equal(opened["a", 0], values[0, 0].astype(np.float16))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["done.npy", "moments.npy", "store.json"]


def test_a_store_is_continued(tmp_path):
    MomentsStore.create(tmp_path, KEYS, SHAPE, "mark", SIGNATURE).write(1, np.full(SHAPE, 5.0))
    again = MomentsStore.create(tmp_path, KEYS, SHAPE, "mark", SIGNATURE)
    assert again.pending() == [0, 2]
    assert (again["b", 1] == 5).all()
    with pytest.raises(UserError, match="1 of 2 images have no moments .first: c."):
        again.check_holds(["b", "c"])


def test_many_who_make_a_store_at_once_make_one(tmp_path):
    def make(number: int) -> None:
        MomentsStore.create(tmp_path, KEYS, SHAPE, "mark", SIGNATURE).write(number, np.full(SHAPE, number))

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(make, range(3)))
    store = MomentsStore(tmp_path)
    assert store.pending() == [] and [int(store[key, 0].max()) for key in KEYS] == [0, 1, 2]


def test_moments_of_another_codec_are_refused(tmp_path):
    MomentsStore.create(tmp_path, KEYS, SHAPE, "mark", SIGNATURE).write(0, np.ones(SHAPE))
    with pytest.raises(UserError, match="another codec or index; remove it or choose another out="):
        MomentsStore.create(tmp_path, KEYS, SHAPE, "other", SIGNATURE)
    assert (MomentsStore(tmp_path)["a", 0] == 1).all()
    assert fingerprint("x", ["a"], 1) == fingerprint("x", ["a"], 1) != fingerprint("x", ["b"], 1)


def test_a_store_knows_its_codec(tmp_path):
    store = MomentsStore.create(tmp_path, KEYS, SHAPE, "mark", SIGNATURE)
    store.check_codec([0.501, -1.001])  # another machine's rounding
    for other in ([0.6, -1.0], [0.5, -1.0, 0.0]):
        with pytest.raises(UserError, match="encoded by another codec than the one given; run train/encode.py"):
            store.check_codec(other)


def test_a_folder_without_its_table_is_no_store(tmp_path):
    with pytest.raises(UserError, match="not a moments store; write one with train/encode.py"):
        MomentsStore(tmp_path)


def test_a_killed_writer_leaves_what_it_did_not_finish_pending(warm, tmp_path):
    code = f"""
import os, signal, sys
import numpy as np
from gen.data.moments import MomentsStore
from pathlib import Path
store = MomentsStore.create(Path({str(tmp_path)!r}), {KEYS!r}, {SHAPE!r}, "m", [0.0])
store.write(0, np.full({SHAPE!r}, 4.0))
class Killer:
    def __array__(self, dtype=None, copy=None):
        os.kill(os.getpid(), signal.SIGKILL)
store.write(1, Killer())
"""
    assert subprocess.run([warm, "-c", code]).returncode == -signal.SIGKILL
    store = MomentsStore.create(tmp_path, KEYS, SHAPE, "m", [0.0])
    assert store.pending() == [1, 2]
    assert (store["a", 0] == 4).all()


def fill(folder, rank, dies):
    store = MomentsStore(folder, "r+")
    for row in range(rank, 60, 3):
        if dies and row > 30:
            os.kill(os.getpid(), signal.SIGKILL)
        store.write(row, np.full(SHAPE, row, dtype=np.float16))


def test_several_writers_one_of_them_killed(tmp_path):
    keys = [f"k{row}" for row in range(60)]
    MomentsStore.create(tmp_path, keys, SHAPE, "m", [0.0])
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=fill, args=(tmp_path, rank, rank == 1)) for rank in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, -signal.SIGKILL, 0]
    store = MomentsStore.create(tmp_path, keys, SHAPE, "m", [0.0])
    assert store.pending() == list(range(31, 60, 3))  # of the killed one's share, nothing that it had finished
    for row in set(range(60)) - set(store.pending()):
        assert (store[f"k{row}", 0] == row).all() and (store[f"k{row}", 1] == row).all()
    for row in store.pending():
        store.write(row, np.full(SHAPE, row))
    MomentsStore(tmp_path).check_holds(keys)


def test_two_images_of_one_name_are_refused(tmp_path):
    with pytest.raises(UserError, match="two images are called b; give them different study_id"):
        MomentsStore.create(tmp_path / "store", ["a", "b", "b"], SHAPE, "m", [0.0])
    assert not (tmp_path / "store").exists()


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="needs posix_fallocate")
def test_disk_space_is_claimed_at_the_start(tmp_path):
    MomentsStore.create(tmp_path, KEYS, (2, 8, 64, 64), "mark", SIGNATURE)
    status = (tmp_path / "moments.npy").stat()
    assert status.st_blocks * 512 >= 3 * 2 * 8 * 64 * 64 * 2


def test_a_disk_that_is_too_small_is_told_before_any_work(tmp_path):
    import resource

    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        with pytest.raises(OSError):
            MomentsStore.create(tmp_path / "store", KEYS, (2, 8, 64, 64), "mark", SIGNATURE)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    with pytest.raises(UserError, match="not a moments store"):
        MomentsStore(tmp_path / "store")
    assert MomentsStore.create(tmp_path / "store", KEYS, (2, 8, 64, 64), "mark", SIGNATURE).pending() == [0, 1, 2]


def test_keys_survive_a_move_of_the_files():
    rows = pd.DataFrame({"image": ["/x/1.png", "/x/2.png"], "source": ["nih", "here"], "study_id": ["s", "t"]})
    assert image_keys(rows) == ["nih:s:1.png", "here:t:2.png"]
    assert image_keys(rows.assign(image=["/y/z/1.png", "/y/2.png"])) == image_keys(rows)
    assert image_keys(rows[["image"]]) == ["::1.png", "::2.png"]
    assert moments.image_keys(rows.iloc[::-1]) == image_keys(rows)[::-1]

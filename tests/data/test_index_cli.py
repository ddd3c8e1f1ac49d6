import errno
import json
import os
import subprocess
import sys
import tarfile
import time

import pandas as pd
import pytest

from gen.data import cli
from gen.data.index import read_index
from gen.errors import UserError, exit_on_user_error


@pytest.fixture
def run(monkeypatch, capsys):
    """Run cxr-index in this process: (exit code, stdout, stderr)."""

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["cxr-index", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        out, err = capsys.readouterr()
        return caught.value.code or 0, out, err

    return call


def assert_refused(result, *words):
    code, _, err = result
    assert code == 2
    assert err.startswith("error: ") and err.count("\n") == 1
    for word in words:
        assert word in err


def test_build_check_and_summary_of_a_folder(run, tmp_path, table):
    csv, out = tmp_path / "t.csv", tmp_path / "out" / "index.parquet"
    csv.write_text("file,ViewPosition,who\n0.png,LL,a\n1.png,AP,a\n")
    code, text, _ = run("build", "folder", tmp_path / "images", "--csv", csv, "--map", "patient_id=who", "--out", out)
    assert code == 0 and str(out) in text
    index = read_index(out)
    assert index["view"].tolist() == ["LATERAL", "AP"] and index["patient_id"].tolist() == ["a", "a"]
    assert run("check", out)[:2] == (0, f"{out}: no problems\n")
    assert "images" in run("summary", out)[1]


def test_build_and_check_of_shards(run, tmp_path, table):
    with tarfile.open(tmp_path / "0.tar", "w") as tar:
        for number in range(4):
            tar.add(tmp_path / "images" / f"{number}.png", f"{number}.png")
            (tmp_path / "about.json").write_text(json.dumps({"ViewPosition": "LL", "who": f"p{number}"}))
            tar.add(tmp_path / "about.json", f"{number}.json")
    out = tmp_path / "index.csv"
    arguments = ["--map", "patient_id=who", "--out", out]
    assert run("build", "webdataset", f"file://{tmp_path}/*.tar", *arguments)[0] == 0
    assert read_index(out)["view"].tolist() == ["LATERAL"] * 4
    assert read_index(out)["patient_id"].tolist() == ["p0", "p1", "p2", "p3"]
    assert run("check", out, "--workers", "0")[:2] == (0, f"{out}: no problems\n")
    (tmp_path / "0.tar").write_bytes((tmp_path / "0.tar").read_bytes()[:3000])
    assert_refused(run("check", out, "--workers", "0"), "index.csv", "problems; correct")
    assert_refused(
        run("build", "webdataset", tmp_path, "--csv", "x.csv", *arguments), "--csv and --ehr belong to other"
    )


def test_check_lists_every_problem(run, tmp_path, table):
    table.assign(view="OBLIQUE").to_csv(tmp_path / "i.csv", index=False)
    result = run("check", tmp_path / "i.csv")
    assert_refused(result, "i.csv", "4 problems")
    assert result[1].count("OBLIQUE") == 4


def test_check_refuses_a_patient_in_two_splits_and_equal_images_across_them(run, tmp_path, table):
    table.assign(split=["train", "test", "val", "test"]).to_csv(tmp_path / "i.csv", index=False)
    result = run("check", tmp_path / "i.csv", "--no-images")
    assert_refused(result, "1 problems")
    assert "patient '007' is in the splits test and train" in result[1]
    (tmp_path / "images" / "3.png").write_bytes((tmp_path / "images" / "0.png").read_bytes())
    table.to_csv(tmp_path / "i.csv", index=False)
    result = run("check", tmp_path / "i.csv", "--workers", 0)
    assert_refused(result, "1 problems")
    assert "same pixels in two splits" in result[1]


def test_check_warns_reports_and_can_leave_the_images_alone(run, tmp_path, table):
    table.assign(view="UNKNOWN").to_csv(tmp_path / "i.csv", index=False)
    code, text, _ = run("check", tmp_path / "i.csv", "--workers", 0, "--report", tmp_path / "out" / "report.csv")
    assert code == 0 and "no errors" in text and "warning   unknown view  4" in text
    report = pd.read_csv(tmp_path / "out" / "report.csv")
    assert report["kind"].tolist() == ["unknown view"] * 4 and report["row"].tolist() == [1, 2, 3, 4]
    (tmp_path / "images" / "0.png").write_bytes(b"broken")
    assert_refused(run("check", tmp_path / "i.csv", "--workers", 0), "1 problems")
    assert run("check", tmp_path / "i.csv", "--no-images")[0] == 0


def test_refusals_name_the_thing_and_write_nothing(run, tmp_path, table):
    images, out = tmp_path / "images", tmp_path / "index.parquet"
    assert_refused(run("build", "unheard", images, "--out", out), "unheard", "nih_cxr14")
    assert_refused(run("build", "folder", tmp_path / "none", "--out", out), "none", "no such folder")
    assert_refused(run("build", "nih_cxr14", images, "--out", out), "metadata.csv")
    assert_refused(run("build", "folder", images, "--out", tmp_path / "index.xlsx"), "index.xlsx")
    assert_refused(run("build", "folder", images, "--map", "view", "--out", out), "INDEX_COLUMN=CSV_COLUMN")
    assert_refused(run("build", "nih_cxr14", images, "--csv", images, "--out", out), "--csv")
    assert_refused(run("build", "folder", images, "--may-ship-only", "--out", out), "no rows")
    assert_refused(run("build", "folder", images, images, "--out", out), "listed before")
    assert_refused(run("summary", tmp_path / "none.csv"), "none.csv")
    assert not out.exists() and sorted(path.name for path in tmp_path.iterdir()) == ["images"]


def test_a_patient_in_two_splits_is_refused(run, tmp_path, table):
    csv = tmp_path / "t.csv"
    csv.write_text("image,patient,split\n0.png,a,train\n1.png,a,test\n")
    assert_refused(
        run("build", "folder", tmp_path / "images", "--csv", csv, "--out", tmp_path / "i.csv"), "patient 'a'"
    )


def test_several_known_folders_and_licences(run, shared_data, tmp_path):
    out = tmp_path / "index.csv"
    folders = [shared_data / name for name in ("nih_cxr14", "covid_chestxray")]
    assert run("build", "auto", *folders, "--out", out, "--may-ship-only")[0] == 0
    table = read_index(out)
    assert table["source"].value_counts().to_dict() == {"nih_cxr14": 1468, "covid_chestxray": 6}
    assert not pd.read_csv(out)["image"].str.startswith("/").any()


def test_help_is_fast_and_light():
    start = time.perf_counter()
    result = subprocess.run([sys.executable, "-m", "gen.data.cli", "--help"], capture_output=True, text=True)
    seconds = time.perf_counter() - start
    assert result.returncode == 0 and "build" in result.stdout
    assert seconds < 10  # 0.5 s on an idle machine
    light = "import sys, gen.data.cli; assert not {'torch', 'pandas', 'diffusers'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", light]).returncode == 0
    no_torch = "import sys, gen.data.sources, gen.data.prompts, gen.data.dicom; assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", no_torch]).returncode == 0


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (UserError("two\nlines"), "error: two lines\n"),
        (OSError(errno.ENOSPC, "No space left on device", "x.bin"), "disk full while writing x.bin"),
        (RuntimeError("write failed: No space left on device (os error 28)"), "disk full while writing a file"),
    ],
)
def test_user_errors_end_in_one_line(capsys, error, line):
    with pytest.raises(SystemExit) as caught, exit_on_user_error():
        raise error
    assert caught.value.code == 2
    err = capsys.readouterr().err
    assert line in err and err.count("\n") == 1


def test_faults_of_ours_keep_their_traceback():
    with pytest.raises(ZeroDivisionError), exit_on_user_error():
        1 / 0  # noqa: B018
    with pytest.raises(OSError, match=os.strerror(errno.EBADF)), exit_on_user_error():
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))

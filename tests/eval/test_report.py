"""The commands from outside: the page with every section in a browser, metrics.json, the same numbers twice."""

import json
import re
import shutil
import subprocess
import sys

import pandas as pd
import pytest

from gen.errors import UserError
from gen.eval.cli import PARTS
from gen.eval.report import number

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
CORE = ("fidelity", "privacy")


@pytest.fixture
def evaluate(warm):
    """Run `cxr-eval PART` as a user would: exit code, standard output, standard error."""

    def run(part, world, out, *options):
        command = [warm, "-c", "from gen.eval.cli import main; main()", part]
        command += ["--real", world[0], "--synthetic", world[1], "--out", out, "--network", "random", "--workers", "0"]
        done = subprocess.run(list(map(str, [*command, *options])), capture_output=True, text=True, timeout=280)
        return done.returncode, done.stdout, done.stderr

    return run


@pytest.fixture(scope="module")
def both(world, tmp_path_factory):
    """Both parts measured twice, the second time into another folder with the features computed anew."""
    from gen.eval import fidelity
    from gen.eval.evaluation import Options, measure, prepare, write

    folders = [tmp_path_factory.mktemp(name) for name in ("first", "second")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fidelity, "PAIRS", 24)  # the slowest figure
        for folder in folders:
            context, record = prepare(Options(world[0], world[1], folder, networks=("random",)))
            write(context, record, measure(context, CORE))
    return folders


@pytest.fixture(scope="module")
def metrics(both):
    return json.loads((both[0] / "metrics.json").read_text())


def figures(metrics, part):
    return {(f["name"], f["group"]): f for f in metrics["sections"][part]["figures"]}


def test_two_runs_give_the_same_numbers_and_the_same_page(both):
    first, second = ((folder / "metrics.json").read_bytes() for folder in both)
    assert first == second
    assert (both[0] / "report.html").read_bytes() == (both[1] / "report.html").read_bytes()


def test_fidelity_has_its_figures_with_floors_and_controls(metrics):
    found = figures(metrics, "fidelity")
    for name in ("Frechet distance", "KID", "CMMD", "precision", "recall", "density", "coverage", "Vendi score"):
        figure = found[name, ""]
        assert figure["n"] == 60
        assert figure["low"] <= figure["value"] <= figure["high"]
        assert figure["floor"] is not None and figure["control"] is not None, name
    kid = found["KID", ""]
    assert kid["value"] < kid["control"]  # of real pictures in pieces
    assert ("KID", "female") in found and ("KID", "view PA") in found and ("KID", "age 20 to 39") not in found
    assert found["MS-SSIM within a prompt", ""]["n"] == 24


def test_privacy_has_its_figures(metrics):
    found = figures(metrics, "privacy")
    assert found["copy rate", ""]["value"] == 0 and found["copy rate", ""]["control"] >= 0.7  # by a random network
    assert found["re-identification of real patients (AUROC)", ""]["n"] >= 20
    assert 0 <= found["nearer to training than held-out, features", ""]["value"] <= 1
    texts = [verdict["text"] for verdict in metrics["sections"]["privacy"]["verdicts"]]
    assert any("Membership inference was not measured: it needs the generator" in text for text in texts)


def test_every_input_has_a_fingerprint(metrics):
    record = metrics["record"]
    assert len(record["real"]["files"]) == len(record["synthetic"]["files"]) == 16
    assert record["networks"][0]["standing"] == "random"
    assert any("RANDOM weights" in remark for remark in record["remarks"])
    assert record["counts"] == {"synthetic": 60, "reference": 60, "train": 90, "prompts": 30}
    assert not re.search(r'"/(home|tmp|work|root)', json.dumps(record))


def test_the_page_needs_nothing_else(both):
    page = (both[0] / "report.html").read_text()
    sources = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert sources and all(source.startswith(("data:", "#")) for source in sources)
    assert "url(" not in page and "<script" not in page
    assert 'name="viewport"' in page


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here (Debian: apt-get install chromium)")
@pytest.mark.parametrize("width", [390, 1200])
def test_the_page_in_a_browser(both, tmp_path, width):
    flags = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        "--enable-logging=stderr",
    ]
    flags += [f"--user-data-dir={tmp_path}", f"--window-size={width},2000", "--virtual-time-budget=2000"]
    done = subprocess.run(
        [CHROMIUM, *flags, "--dump-dom", (both[0] / "report.html").as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
    )
    dom = done.stdout
    for part in ("verdict", "inputs", *CORE):
        assert f'id="{part}"' in dom
    assert "In plain words" in dom and dom.count("<img") >= 6
    assert "CONSOLE" not in done.stderr


def test_a_part_that_cannot_be_measured_leaves_the_others(world, tmp_path):
    from dataclasses import replace

    from gen.eval.evaluation import Options, measure, prepare, write
    from gen.eval.utility_plan import load_plan

    context, record = prepare(Options(world[0], world[1], tmp_path / "out", networks=("random",)))
    context = replace(context, utility=load_plan(None, ["least=100000"]))
    with pytest.raises(UserError, match="no finding has 100000 held-out images"):
        measure(context, ("utility",))
    sections = measure(context, ("fidelity", "utility"))
    assert sections[0].figures and not sections[1].figures
    page, _ = write(context, record, sections)
    assert "Utility was not measured: utility: no finding has 100000" in page.read_text()


def test_a_planted_copy_is_named_on_the_page(evaluate, copied_world, tmp_path):
    folder = copied_world[1].parent
    shutil.copy(folder.parent / "real_040.png", folder / "made_011.png")
    code, _, errors = evaluate("privacy", copied_world, tmp_path / "out")
    assert code == 0, errors
    section = json.loads((tmp_path / "out" / "metrics.json").read_text())["sections"]["privacy"]
    assert any("1 of 60 synthetic images are copies" in verdict["text"] for verdict in section["verdicts"])
    table = next(table for table in section["tables"] if table["title"] == "Copies")
    assert [row[:2] for row in table["rows"]] == [["made_011.png", "real_040.png"]]


def test_a_refusal_ends_with_one_line_and_code_2(evaluate, copied_world, tmp_path):
    pd.read_csv(copied_world[1]).head(10).to_csv(copied_world[1], index=False)
    code, output, errors = evaluate("fidelity", copied_world, tmp_path / "out")
    assert code == 2 and output == ""
    assert errors.count("\n") == 1 and errors.startswith("error: ") and "needs at least 50" in errors
    assert not (tmp_path / "out" / "report.html").exists()


def test_every_part_is_a_command_and_help_loads_no_torch():
    script = "import sys, typer; from gen.eval.cli import app; names = typer.main.get_command(app).commands"
    done = subprocess.run(
        [sys.executable, "-c", f"{script}; print(*names, 'torch' in sys.modules)"], capture_output=True, text=True
    )
    *names, torch = done.stdout.split()
    assert torch == "False" and {"report", *PARTS} <= set(names), done.stderr


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.123456, "0.123"),
        (12.3456, "12.3"),
        (1234.5, "1234"),
        (2.0, "2.00"),
        (100, "100"),
        (1e-5, "1.00e-05"),
        (None, "–"),
    ],
)
def test_numbers_have_three_digits(value, shown):
    assert number(value) == shown

"""The wheel: complete, with one import root, and alive outside the checkout."""

import csv
import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from importlib.metadata import EntryPoint
from pathlib import Path
from venv import EnvBuilder

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = ("gen", "train", "sample", "eval", "configs")
TEXTS = ("pyproject.toml", "README.md", "LICENSE", "ATTRIBUTION.md")
WEIGHTS = [path.relative_to(ROOT).as_posix() for path in (ROOT / "gen/weights").rglob("*.safetensors")]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
INSTALL = ("install", "--quiet", "--no-deps", "--no-index")
ISOLATED = ["unshare", "--user", "--map-root-user", "--net"]  # a name space without any network


def can_isolate() -> bool:
    return bool(shutil.which("unshare")) and subprocess.run([*ISOLATED, "true"], capture_output=True).returncode == 0


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """A wheel of a copy of the sources: building in the checkout would pick up what an earlier build/ left."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for folder in SOURCES:
        shutil.copytree(ROOT / folder, source / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for name in TEXTS:
        shutil.copy(ROOT / name, source / name)
    run(
        sys.executable, "-m", "pip", "wheel", "--quiet", ".", "--no-deps", "--no-build-isolation", "-w", out, cwd=source
    )
    return next(out.glob("cxr_gen-*.whl"))


@pytest.fixture(scope="module")
def names(wheel) -> set[str]:
    return set(zipfile.ZipFile(wheel).namelist())


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """A virtual environment that the wheel is installed in; its dependencies are those of the environment of tests.

    They are found by a .pth file, whose folders' own .pth files are not read: an editable checkout stays out of reach.
    """
    home = tmp_path_factory.mktemp("environment")
    EnvBuilder().create(home)
    run(sys.executable, "-m", "pip", "--python", home / "bin/python", *INSTALL, wheel, cwd=home)
    dependencies = [sysconfig.get_path(kind) for kind in ("purelib", "platlib")]
    (site_of(home) / "dependencies.pth").write_text("\n".join(dict.fromkeys(dependencies)) + "\n")
    return home


def site_of(home: Path) -> Path:
    return next((home / "lib").glob("python3.*/site-packages"))


def test_wheel_has_one_import_root(names):
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"gen"}


@pytest.mark.parametrize("folder", SOURCES)
def test_wheel_has_every_source(names, folder):
    mount = "gen" if folder == "gen" else f"gen/{folder}"
    paths = (path.relative_to(ROOT / folder) for path in (ROOT / folder).rglob("*") if path.is_file())
    files = {path.as_posix() for path in paths if "__pycache__" not in path.parts and not path.name.startswith(".")}
    assert files and {f"{mount}/{file}" for file in files} - names == set()


def test_wheel_has_the_weights_and_their_licence(names):
    assert set(WEIGHTS) - names == set()
    assert {name.split("/")[-1] for name in names if "/licenses/" in name} == {"LICENSE", "ATTRIBUTION.md"}


@pytest.mark.parametrize("script", sorted(PROJECT["project"]["scripts"]))
def test_console_scripts_exist(script):
    assert callable(EntryPoint(script, PROJECT["project"]["scripts"][script], "console_scripts").load())


def test_wheel_imports_outside_the_checkout(installed, tmp_path):
    code = "import gen, gen.sample, gen.train, gen.eval; print(gen.__file__, gen.sample.__file__, gen.__version__)"
    package, sample, version = run(installed / "bin/python", "-c", code, cwd=tmp_path).split()
    site = site_of(installed)
    assert Path(package) == site / "gen/__init__.py"
    assert Path(sample) == site / "gen/sample/__init__.py"
    assert f"cxr_gen-{version}.dist-info" in {path.name for path in site.iterdir()}


@pytest.mark.parametrize("kind", ["wheel", "editable"])
def test_modules_and_recipes_are_found_from_anywhere(installed, tmp_path, kind):
    code = "import gen.sample, importlib.resources as r; print((r.files('gen.configs') / 'text_256.yaml').read_text())"
    python = installed / "bin/python" if kind == "wheel" else sys.executable
    assert "denoiser:" in run(python, "-c", code, cwd=tmp_path)


@pytest.mark.skipif(not WEIGHTS, reason="no weights in gen/weights yet")
def test_wheel_draws_a_radiograph_outside_the_checkout(installed, tmp_path):
    """By its own command, without a network where the system can take it away."""
    arguments = ("--prompt", "PA chest radiograph. No finding.", "--out", tmp_path / "out", "--n", "1", "--steps", "2")
    before = ISOLATED if can_isolate() else []
    run(*before, installed / "bin/cxr-sample", "image", *arguments, cwd=tmp_path)
    (row,) = csv.DictReader((tmp_path / "out/manifest.csv").open())
    assert (tmp_path / "out" / row["img_savename"]).stat().st_size > 1000

"""The wheel: complete, with one import root, and alive outside the checkout."""

import csv
import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = ("gen", "train", "sample", "eval", "configs")
TEXTS = ("pyproject.toml", "README.md", "LICENSE", "ATTRIBUTION.md")
WEIGHTS = [path.relative_to(ROOT).as_posix() for path in (ROOT / "gen/weights").rglob("*.safetensors")]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


ISOLATED = ["unshare", "--user", "--map-root-user", "--net"]  # a name space without any network


def can_isolate() -> bool:
    return bool(shutil.which("unshare")) and subprocess.run([*ISOLATED, "true"], capture_output=True).returncode == 0


def python(*arguments: str | Path, cwd: Path, before: tuple[str, ...] = (), **environment: str) -> str:
    done = subprocess.run(
        [*before, sys.executable, *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, **environment},
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
    python("-m", "pip", "wheel", "--quiet", ".", "--no-deps", "--no-build-isolation", "-w", out, cwd=source)
    return next(out.glob("cxr_gen-*.whl"))


@pytest.fixture(scope="module")
def names(wheel) -> set[str]:
    return set(zipfile.ZipFile(wheel).namelist())


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    target = tmp_path_factory.mktemp("site")
    arguments = ("install", "--quiet", "--no-deps", "--no-index", "--target", target, wheel)
    python("-m", "pip", *arguments, cwd=target)
    return target


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
    package, sample, version = python("-c", code, cwd=tmp_path, PYTHONPATH=str(installed)).split()
    assert Path(package) == installed / "gen/__init__.py"
    assert Path(sample) == installed / "gen/sample/__init__.py"
    assert f"cxr_gen-{version}.dist-info" in {path.name for path in installed.iterdir()}


@pytest.mark.parametrize("kind", ["wheel", "editable"])
def test_modules_and_recipes_are_found_from_anywhere(installed, tmp_path, kind):
    code = "import gen.sample, importlib.resources as r; print((r.files('gen.configs') / 'text_256.yaml').read_text())"
    environment = {"PYTHONPATH": str(installed)} if kind == "wheel" else {}
    assert "denoiser:" in python("-c", code, cwd=tmp_path, **environment)


@pytest.mark.skipif(not WEIGHTS, reason="no weights in gen/weights yet")
def test_wheel_draws_a_radiograph_outside_the_checkout(installed, tmp_path):
    """By its own command, without a network where the system can take it away."""
    arguments = ("--prompt", "PA chest radiograph. No finding.", "--out", tmp_path / "out", "--n", "1", "--steps", "2")
    script = installed / "bin" / "cxr-sample"
    before = tuple(ISOLATED) if can_isolate() else ()
    python(script, "image", *arguments, cwd=tmp_path, before=before, PYTHONPATH=str(installed))
    (row,) = csv.DictReader((tmp_path / "out/manifest.csv").open())
    assert (tmp_path / "out" / row["img_savename"]).stat().st_size > 1000

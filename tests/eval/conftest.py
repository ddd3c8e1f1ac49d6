"""Small worlds to evaluate in: pictures of chests with their tables, and squares that a small network can learn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

SIDE = 64
SMALL_SIDE = 32
FINDINGS = ("No Finding", "Pneumonia", "Pleural Effusion", "Cardiomegaly;Pneumonia")


def _chest(seed: int, blur: float = 1.5) -> np.ndarray:
    """Two dark lungs in a bright body, with texture of its own."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:SIDE, 0:SIDE] / SIDE
    lungs = sum(
        np.exp(-(((x - centre) / 0.14) ** 2) - ((y - 0.45 + rng.normal(0, 0.02)) / rng.uniform(0.22, 0.3)) ** 2)
        for centre in (0.3 + rng.normal(0, 0.015), 0.7 + rng.normal(0, 0.015))
    )
    texture = gaussian_filter(rng.normal(size=(SIDE, SIDE)), blur) * blur
    return np.clip(170 - 120 * lungs + 28 * texture + rng.normal(0, 8), 0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def chest():
    """The picture of a seed; a larger `blur` is a generator that lost the fine texture."""
    return _chest


def _attributes(number: int) -> dict:
    return {
        "view": ("PA", "AP")[number % 2],
        "sex": ("M", "F", "F")[number % 3],
        "age": float(20 + number % 60),
        "findings": FINDINGS[number % len(FINDINGS)],
    }


def _real(folder: Path, train: int, test: int) -> Path:
    rows = []
    for number in range(train + test):
        path = folder / f"real_{number:03d}.png"
        Image.fromarray(_chest(number)).save(path)
        patient = number if number < 6 else number // 2 + 1000 if number < train else number + 5000
        split = "train" if number < train else "test"
        rows.append({"image": path.name, "patient_id": f"p{patient}", "split": split, **_attributes(number)})
    table = folder / "index.csv"
    pd.DataFrame(rows).to_csv(table, index=False)
    return table


def _made(folder: Path, count: int, each: int = 2) -> Path:
    rows = []
    for number in range(count):
        path = folder / f"made_{number:03d}.png"
        Image.fromarray(_chest(10_000 + number, blur=2.0)).save(path)
        said = _attributes(number // each)
        prompt = f"{said['view']} chest radiograph, {said['sex']}, {said['age']:.0f}: {said['findings']}"
        rows.append({"img_savename": path.name, "prompt": prompt, **said, "seed": number, "model_hash": "abc"})
    table = folder / "manifest.csv"
    pd.DataFrame(rows).to_csv(table, index=False)
    return table


@pytest.fixture(scope="session")
def world(tmp_path_factory) -> tuple[Path, Path]:
    """An index of 90 training and 60 test pictures, and a manifest of 60 synthetic ones; not to be changed."""
    folder = tmp_path_factory.mktemp("world")
    (folder / "made").mkdir()
    return _real(folder, 90, 60), _made(folder / "made", 60)


@pytest.fixture
def copied_world(world, tmp_path) -> tuple[Path, Path]:
    """The same tables and pictures in a folder that a test may change."""
    import shutil

    shutil.copytree(world[0].parent, tmp_path / "world")
    return tmp_path / "world" / "index.csv", tmp_path / "world" / "made" / "manifest.csv"


@pytest.fixture
def context(world, tmp_path):
    """The checked inputs of that world with a network of random weights."""
    from gen.eval.evaluation import Options, prepare

    options = Options(world[0], world[1], tmp_path / "out", networks=("random",))
    return prepare(options)[0]


@pytest.fixture(scope="session")
def squares(tmp_path_factory):
    """An index table of 200 real and a manifest of 60 synthetic images; Mass is a square, Nodule a coin's toss."""
    folder = tmp_path_factory.mktemp("squares")
    generator = np.random.default_rng(0)

    def rows(count: int, prefix: str) -> list[dict]:
        made = []
        for number in range(count):
            mass, nodule = generator.random(2) < 0.5
            image = generator.normal(90, 25, (SMALL_SIDE, SMALL_SIDE))
            image[8:20, 4:16] += 90 * mass
            path = folder / f"{prefix}{number}.png"
            Image.fromarray(np.clip(image, 0, 255).astype(np.uint8)).save(path)
            findings = ";".join(name for name, on in (("Mass", mass), ("Nodule", nodule)) if on) or "No Finding"
            made.append({"image": str(path), "findings": findings, "view": "PA", "sex": "MF"[number % 2]})
        return made

    real = pd.DataFrame(rows(200, "r")).assign(age=50.0, source="here", inverted=False)
    real["patient_id"] = [f"p{number // 2}" for number in range(len(real))]
    real["split"] = ["train"] * 120 + ["test"] * 80
    real.loc[170:, "source"] = "there"
    synthetic = pd.DataFrame(rows(60, "s")).assign(age=50.0, prompt=[f"PA, {number}" for number in range(60)])
    return real, synthetic

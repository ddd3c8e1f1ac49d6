"""Radiographs small enough to train on: a finding that one can see, as a bright square on the image's left."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from PIL import Image

SIDE = 32


@pytest.fixture(scope="session")
def squares(tmp_path_factory):
    """An index table of 200 real and a manifest of 60 synthetic images; Mass is a square, Nodule a coin's toss."""
    folder = tmp_path_factory.mktemp("squares")
    generator = np.random.default_rng(0)

    def rows(count: int, prefix: str) -> list[dict]:
        made = []
        for number in range(count):
            mass, nodule = generator.random(2) < 0.5
            image = generator.normal(90, 25, (SIDE, SIDE))
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

"""Views of drawn studies, by features that are known and from tables of files."""

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from gen.data.index import read_index, write_index
from gen.errors import UserError
from gen.eval import studies
from gen.eval.section import Section
from gen.judges.reader import Reader
from gen.models.classifier import RadiographClassifier

WIDTH = 12


@pytest.fixture(scope="module")
def law():
    """Features of first views and, by one linear law and noise, of second views."""
    weights = np.random.default_rng(0).normal(size=(WIDTH, WIDTH))

    def draw(count, seed, noise=1.0):
        generator = np.random.default_rng(seed)
        first = generator.normal(3, 1, (count, WIDTH))
        return first, first @ weights + noise * generator.normal(size=(count, WIDTH))

    return draw


def test_own_views_are_found_and_others_are_not(law):
    learned = studies.Foretelling(*law(200, 1))
    first, second = law(60, 2)
    assert learned.shares(first, second).mean() > 0.97
    assert learned.shares(first, second + 50).mean() > 0.97  # drawn images may all be brighter
    assert learned.shares(first, np.roll(second, 1, 0)).mean() == pytest.approx(0.5, abs=0.1)
    assert learned.shares(first, np.ones_like(second)).tolist() == [0.5] * 60


def test_noise_is_not_learned(law):
    first, _ = law(100, 3)
    learned = studies.Foretelling(first, np.random.default_rng(4).normal(size=first.shape))
    assert np.abs(learned.weights).max() < 0.2  # the largest ridge
    assert studies.Foretelling(*law(100, 3)).weights.std() > 0.2


def test_verdicts(law):
    learned = studies.Foretelling(*law(200, 1))
    first, second = law(80, 5)
    together, alone = learned.shares(first, second), learned.shares(first, np.roll(second, 1, 0))
    patients = np.arange(80)
    for matches, kind in (
        (studies.Matches(patients, together, alone, together), "good"),
        (studies.Matches(patients, alone, alone, np.array([np.nan])), "unclear"),
        (studies.Matches(patients, alone, together, together), "bad"),
    ):
        section = Section("studies", "")
        studies.summarise(section, matches, "PA, LATERAL", 200)
        assert section.verdicts[0].kind == kind
        assert section.figure(studies.MATCH, "PA, LATERAL").control == matches.alone.mean()
    assert section.figure(studies.MATCH, "PA, LATERAL").floor == together.mean()


@pytest.fixture
def drawn(tmp_path):
    """Thirty patients whose two views are one picture, an index of them as true studies and as drawn ones."""
    generator, rows, table = np.random.default_rng(6), [], []
    for number in range(30):
        names = [f"{number}_{view}.png" for view in ("PA", "LATERAL", "alone")]
        pixels = np.repeat(np.repeat(generator.integers(0, 255, (8, 8), dtype=np.uint8), 4, 0), 4, 1)
        other = generator.integers(0, 255, (32, 32), dtype=np.uint8)
        for name, image in zip(names, (pixels, 255 - pixels, other), strict=True):
            Image.fromarray(image).save(tmp_path / name)
        split = "train" if number < 22 else "test"
        for name, view in zip(names, ("PA", "LATERAL"), strict=False):
            rows.append(
                {"image": str(tmp_path / name), "patient_id": f"p{number}", "study_id": f"s{number}", "view": view}
            )
            rows[-1]["split"] = split
        table.append(dict(zip(studies.IMAGES, names, strict=True)) | {"patient": f"p{number}"})
    write_index(pd.DataFrame(rows), tmp_path / "index.csv")
    table = pd.DataFrame(table).assign(first_view="PA", second_view="LATERAL")
    table.to_csv(tmp_path / "studies.csv", index=False)
    return tmp_path


def test_a_table_of_studies(drawn):
    torch.manual_seed(0)
    judge = Reader(RadiographClassifier(("Mass",), widths=(8, 8), blocks=(1, 1), features=16, resolution=32))
    section = studies.measure_studies(drawn / "studies.csv", drawn / "index.csv", judge, 100)
    figure = section.figure(studies.MATCH, "PA, LATERAL")
    assert figure.n == 30 and figure.value > figure.control + 0.1 and 0 <= figure.floor <= 1
    rows = read_index(drawn / "index.csv")
    write_index(rows[rows["patient_id"] > "p2"], drawn / "few.csv")
    with pytest.raises(UserError, match=r"few\.csv: \d+ training studies with PA and LATERAL; at least 20 are needed"):
        studies.measure_studies(drawn / "studies.csv", drawn / "few.csv", judge, 100)

"""Every shell command of the README is run, in its order and at small cost, each section in a folder of its own."""

import importlib.util
import os
import re
import shlex
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from gen.data.dicom_writing import write_synthetic_dicom

ROOT = Path(__file__).parent.parent
SIDE = 64  # pixels


def from_path(path):
    """A script that is no module of the package."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


pages = from_path(ROOT / "tests" / "test_docs.py")
README = (ROOT / "README.md").read_text()
SECTIONS = {section.splitlines()[0]: section for section in re.split(r"^## ", README, flags=re.M)}


def commands(section):
    """Those of its code blocks, then those in its sentences that say where to write."""
    blocks = [line for line in pages.commands(section) if line.split()[0] in (*pages.PROGRAMS, "accelerate", "ruff")]
    return [*blocks, *re.findall(r"`(cxr-[^`\n]* --out [^`\n]*)`", section)]


COMMANDS = [(title, command) for title, section in SECTIONS.items() for command in commands(section)]
# not run here, and why; the programs' parsers take them all the same (tests/test_docs.py)
NOT_RUN = {
    "cxr-eval report --real index.parquet --synthetic set --out evaluation": (
        "takes minutes; tests/eval measures its parts"
    ),
    "ruff check . && pytest": "is this suite",
    "cxr-sample run plan.parquet --out s3://bucket/set --engine ray --workers 64": "wants a Ray cluster and a bucket",
}
# what is asked of a command here in place of what the README asks: fewer images and steps, a folder for a mount;
# `model` is an untrained model at 32 px, where nothing is said of a model the shipped one draws
SMALLER = {
    "--out demo": "--out demo --model model",
    "--n 4 --seed 7": "--n 1 --seed 7",
    "--age 72 --out out2": "--age 72 --out out2 --model model",
    "--table prompts.csv --out set": "--table prompts.csv --out set --model model --steps 1",
    "--out lateral": "--out lateral --steps 1",
    "--at 72h --n 8": "--at 72h --n 1 --steps 1",
    "film.dcm --out soft": "film.dcm --out soft --steps 1 --anyway",
    "--out edited.png": "--out edited.png --model model",
    "--each 2000": "--each 8",
    "calibrate --index index.parquet": "calibrate --index held_out.parquet",
    "run plan.parquet --out augmented": "run plan.parquet --out augmented --steps 1 --max-tries 1",
    "plan.parquet --out /shared/set": "plan.parquet --out shared/set --model model --steps 1",
    "cxr-sample index augmented": "cxr-sample index shared/set --validation 0.5",
    "--split test --each 2": "--split test --each 1",
    "cxr-eval utility": "cxr-eval utility steps=1 seeds=1 least=3 widths=[4,8] blocks=[1,1] resolution=32",
    "/data/hospital": "data/hospital",
    "configs/tiny_text.yaml": "configs/tiny_text.yaml train.steps=1 data.resolution=64",
    "--n 1000": "--n 2 --size 64",
    "phantom-check": "phantom-check --n 2 --size 64",
}
VARIABLES = {"$RANK": "0", "$SLURM_ARRAY_TASK_ID": "1"}  # as a cluster sets them


def chest(number):
    """Two dark lungs on grey."""
    rng = np.random.default_rng(number)
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE
    lungs = sum(np.exp(-(((x - c) / 0.14) ** 2) - ((y - 0.5) / rng.uniform(0.2, 0.3)) ** 2) for c in (0.3, 0.7))
    return np.clip(170 - 110 * lungs + rng.normal(0, 6, (SIDE, SIDE)), 0, 255).astype(np.uint8)


def write_tables(folder):
    """A hospital of 116 chests: an index with 56 held out, one with all of them held out, and a list of labels."""
    (folder / "data/hospital").mkdir(parents=True)
    names = [f"{number:03}.png" for number in range(116)]
    for number, name in enumerate(names):
        Image.fromarray(chest(number)).save(folder / "data/hospital" / name)
    table = pd.DataFrame({"image": [f"data/hospital/{name}" for name in names], "source": "drawn", "may_ship": True})
    table["patient_id"], table["split"] = names, ["train"] * 56 + ["val"] * 4 + ["test"] * 56
    table["view"], table["sex"], table["age"] = ["PA", "AP"] * 58, ["M", "F", "F", "M"] * 29, 60.0
    rarely = ["Pneumonia", "Pleural Effusion", *["No Finding"] * 16]  # too few to judge but where a command asks for it
    table["findings"], table["report"] = (rarely * 7)[: len(table)], "IMPRESSION: Small left pleural effusion."
    table.to_parquet(folder / "index.parquet")
    often = ["Pneumonia", "Pleural Effusion"] * 58
    table.assign(split="val", findings=often).to_parquet(folder / "held_out.parquet")
    listed = pd.DataFrame({"path": names, "PatientID": names, "ViewPosition": table["view"]})
    listed.to_csv(folder / "labels.csv", index=False)


def make_ready(folder, model):
    """A folder with the files that the README's reader is said to have."""
    write_tables(folder)
    for name in ("pa.png", "prior.png"):
        Image.fromarray(chest(0)).resize((256, 256)).save(folder / name)
    Image.fromarray(np.pad(np.full((16, 16), 255, np.uint8), 24)).save(folder / "mask.png")
    write_synthetic_dicom(folder / "film.dcm", chest(1).repeat(4, 0).repeat(4, 1), {"model": "drawn"}, "PA")
    (folder / "events.csv").write_text("hour,code,value,unit\n12,furosemide,40,mg\n")
    (folder / "prompts.csv").write_text("prompt,view,n\nPA chest radiograph.,,2\nPleural effusion.,AP,1\n")
    path = "data/hospital/{:03}.png"
    pairs = [{"cxr": path.format(n), "target": path.format(n + 1), "output": path.format(n + 2)} for n in range(6)]
    pd.DataFrame(pairs).to_csv(folder / "table.csv", index=False)
    for name, place in {"gen": ROOT / "gen", "configs": ROOT / "configs", "model": model}.items():
        (folder / name).symlink_to(place)


def smaller(command):
    """The command as it is run here."""
    for words, fewer in SMALLER.items():
        command = command.replace(words, fewer)
    for name, value in VARIABLES.items():
        command = command.replace(name, value)
    return command


def carry_out(command):
    """Run a command in this process; what it raises or exits with comes out."""
    program, *words = shlex.split(command)
    if program == "accelerate":  # one process takes the launcher's place
        job = next(n for n, word in enumerate(words) if word.startswith("train/") or word == "gen.sample.cli")
        settings, (name, *words) = dict(zip(words[1:job:2], words[2:job:2], strict=False)), words[job:]
        assert Path(settings.get("--config_file", "configs/accelerate/cpu.yaml")).is_file()
        if name.endswith(".py"):
            return from_path(ROOT / name).main(words)
        program = "cxr-sample"
    return pages.PROGRAMS[program].main(words, prog_name=program, standalone_mode=False)


def results(command):
    """What a command says that it writes."""
    return re.findall(r"(?:--out |\brun=)(\S+)", command)


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory, tiny_pipeline_dir):
    """For each command of the README: None, or what went wrong."""
    found, home, threads = {}, Path.cwd(), torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ACCELERATE_USE_CPU", "true")
        torch.set_num_threads(1)
        for title, command in COMMANDS:
            if command in NOT_RUN:
                continue
            folder = tmp_path_factory.getbasetemp() / "readme" / re.sub(r"\W+", "-", title)
            if not folder.is_dir():
                folder.mkdir(parents=True)
                make_ready(folder, tiny_pipeline_dir)
            os.chdir(folder)
            try:
                carry_out(smaller(command))
                lacking = [name for name in results(smaller(command)) if not Path(name).exists()]
                found[title, command] = f"wrote no {lacking}" if lacking else None
            except (Exception, SystemExit) as error:
                found[title, command] = repr(error)
        os.chdir(home)
        torch.set_num_threads(threads)
    return found


@pytest.mark.parametrize(("section", "command"), [c for c in COMMANDS if c[1] not in NOT_RUN], ids=lambda x: x[:60])
def test_every_command_of_the_readme_does_its_work(section, command, outcomes):
    assert outcomes[section, command] is None


def test_nothing_here_is_of_an_older_readme():
    commands = [command for _, command in COMMANDS]
    assert set(NOT_RUN) <= set(commands)
    for words in [*SMALLER, *VARIABLES]:
        assert any(words in command for command in commands), words


def test_every_make_target_of_the_readme_is_there():
    asked = set(re.findall(r"(?:^|`)make ([a-z]+)", README, re.M))
    assert asked >= {"demo", "test"}
    assert asked <= set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M))


def test_the_python_of_the_readme_runs():
    blocks = re.findall(r"^```python\n(.*?)^```$", README, re.M | re.S)
    assert blocks
    for block in blocks:
        names = {}
        exec(block.replace("guidance=2.0", "guidance=2.0, steps=1"), names)
        assert names["out"].images[0].size == (256, 256) and names["out"].records[0].seed == 3

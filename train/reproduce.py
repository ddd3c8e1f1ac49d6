"""Retrain the shipped models within a time budget and print their figures beside the shipped ones.

python train/reproduce.py --minutes 120 [--index index.parquet] [--out runs/reproduce] [--models text,fast,...]
Models other than text stand on the text model retrained before them, or on the shipped one; views, temporal and bone
learn from phantoms, which it makes; judges from both. The same script on CPU and GPU; stop it and run it again at will.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

from gen.engine.retraining import JUDGES, MODELS, SHIPPED
from gen.errors import UserError, exit_on_user_error

PUBLISHED = {  # what is measured once it is published: the folder here, and the shipped one
    "text": {"model": "text_256"},
    "fast": {"fast_model": "text_256_fast"},
    "judges": {f"{name}_model": name for name in JUDGES},
}
TRAINED = {  # of the others, run by run: the folder here, and the shipped run of the same kind
    "views": {"views_coder": "study_code_256", "views_first": "first_view_256", "views": "view_256"}
    | {"views_fast": "view_lcm_256", "views_clear": "view_self_guided_256"},
    "temporal": {"temporal_first": "temporal_small_256", "temporal": "temporal_256"},
    "bone": {"bone_first": "bone_unet_256", "bone": "bone_256"},
}
FOLDERS = {"views": "view_256", "temporal": "temporal_256", "bone": "bone_256"}
# shares of the budget among those asked for
WEIGHTS = {"text": 8, "fast": 2, "views": 1, "temporal": 2, "bone": 2, "judges": 1}


def finished(job: list[str]) -> bool:
    """Whether a training job has exported already; the other jobs are quick to repeat."""
    run = next((Path(part.removeprefix("run=")) for part in job if part.startswith("run=")), None)
    return run is not None and (run / "export" / "run.json").is_file()


def table(what: str, new: dict, shipped: dict) -> str:
    """Figures side by side, by group and name; in words where there are none, or none of the shipped model's."""
    rows = [(group, name, value) for group, values in new.items() for name, value in values.items()]
    known = [shipped.get(group, {}).get(name) for group, name, _ in rows]
    if not rows:
        return f"{what}: training measures no figures of it, so there is nothing to compare"
    lines = [f"{'figure':40}{'retrained':>12}{'shipped':>12}"]
    for (group, name, value), other in zip(rows, known, strict=True):
        lines.append(f"{group + ' ' + name:40}{value:12.4g}{'unknown' if other is None else f'{other:.4g}':>12}")
    if any(other is not None for other in known):
        return "\n".join(lines)
    lines = [line[:52] for line in lines]
    return "\n".join([*lines, f"{what}: the shipped model has no such figures, so there is nothing to compare"])


def main() -> None:
    """Run the jobs that are not finished, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, required=True, help="training time, all models together")
    parser.add_argument("--index", type=Path, default=Path("index.parquet"))
    parser.add_argument("--out", type=Path, default=Path("runs/reproduce"))
    parser.add_argument("--models", default="text", help=f"with commas: {', '.join(MODELS)}")
    arguments = parser.parse_args()
    if not arguments.index.is_file():
        raise UserError(f"{arguments.index}: no index; make one: `cxr-index build SOURCE FOLDER --out index.parquet`")
    wanted = arguments.models.split(",")
    if unknown := sorted(set(wanted) - set(MODELS)):
        raise UserError(f"--models {unknown[0]}: one or more of {', '.join(MODELS)}, with commas")
    for name in (name for name in MODELS if name in wanted):
        share = WEIGHTS[name] / sum(WEIGHTS[other] for other in set(wanted))
        run_all(MODELS[name](arguments.index, arguments.out, arguments.minutes * share))
        print(figures_of(name, arguments.out))


def run_all(jobs: list[list[str]]) -> None:
    """Run the jobs that are not finished; the first that fails ends it all."""
    for job in jobs:
        if not finished(job):
            print("$ python", " ".join(job), flush=True)
            code = subprocess.run([sys.executable, *job]).returncode
            if code:
                raise SystemExit(code)


def figures_of(name: str, out: Path) -> str:
    """What was reached beside what is shipped: of what is published, or run by run where training measures itself."""
    if name in PUBLISHED:
        pairs = [(out / new, SHIPPED.with_name(old)) for new, old in PUBLISHED[name].items()]
        return "\n\n".join(f"{old.name}:\n{table(old.name, measured(new), measured(old))}" for new, old in pairs)
    runs = json.loads((SHIPPED.with_name(FOLDERS[name]) / "figures.json").read_text())["runs"]
    tables = [_compared(run, kind, out, runs) for run, kind in TRAINED[name].items()]
    return "\n\n".join([*tables, "Each figure is of its own run's validation images."])


def _compared(run: str, kind: str, out: Path, shipped: list[dict]) -> str:
    """A run's figures beside those of the last shipped run of its kind."""
    new = json.loads((out / run / "export" / "run.json").read_text())["figures"]
    known = [one["figures"] for one in shipped if same_kind(one["run"], kind)]
    return table(run, {run: new} if new else {}, {run: known[-1] if known else {}})


def same_kind(run: str, kind: str) -> bool:
    """Whether a run's name is a recipe's, or the recipe's with more behind it: bone_256_b, text_256 (gone on with)."""
    return run == kind or run.startswith((f"{kind}_", f"{kind} "))


def measured(model: Path) -> dict[str, dict[str, float]]:
    """Figures of a published model by group, without how it was trained and without what has no single number."""
    path = model / "figures.json"
    figures = json.loads(path.read_text()) if path.is_file() else {}
    groups = {group: values for group, values in figures.items() if isinstance(values, dict) and group != "run"}
    return {
        group: {name: value for name, value in values.items() if isinstance(value, int | float)}
        for group, values in groups.items()
    }


if __name__ == "__main__":
    with exit_on_user_error():
        main()

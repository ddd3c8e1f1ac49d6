"""Retrain the shipped models within a time budget and print their figures beside the shipped ones.

python train/reproduce.py --minutes 120 [--index index.parquet] [--out runs/reproduce]
The same script on a CPU or a GPU; stop it and run it again as you like.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

from gen.errors import UserError, exit_on_user_error

ROOT = Path(__file__).parents[1]
SHIPPED = ROOT / "gen" / "weights" / "text_256"
SHARES = {"vae": 0.12, "decoder": 0.15, "words": 0.05, "text": 0.68}  # of the budget; encoding comes on top
UNBOUNDED = "train.steps=10000000"


def jobs(index: Path, out: Path, minutes: float) -> list[list[str]]:
    """The command lines in their order, as arguments to Python."""
    data = f"data.index={index}"

    def limit(part: str) -> list[str]:
        return [UNBOUNDED, f"train.minutes={minutes * SHARES[part]:g}"]

    codec, moments, decoder = out / "vae", out / "moments", out / "decoder"
    words, text = out / "words", out / "text"
    train, configs = ROOT / "train", ROOT / "configs"
    start = f"initialise_from={codec / 'export'}"
    latents = [f"codec={codec / 'export'}", f"data.moments={moments}", f"text.model={words / 'export'}"]
    return [
        [f"{train}/vae.py", f"{configs}/vae_256.yaml", data, f"run={codec}", *limit("vae")],
        [f"{train}/vae.py", f"{configs}/vae_256_decoder.yaml", data, f"run={decoder}", start, *limit("decoder")],
        [f"{train}/encode.py", f"{configs}/encode_256.yaml", data, f"codec={codec / 'export'}", f"out={moments}"],
        [f"{train}/text.py", f"{configs}/text_encoder.yaml", f"run={words}", *limit("words")],
        [f"{train}/ldm.py", f"{configs}/text_256.yaml", data, f"run={text}", *latents, *limit("text")],
        [
            f"{train}/publish.py",
            f"{text / 'export'}",
            f"{out / 'model'}",
            f"--index={index}",
            f"--codec={decoder / 'export'}",
        ],
    ]


def finished(job: list[str]) -> bool:
    """Whether a training job has exported already; the other jobs are quick to repeat."""
    run = next((Path(part.removeprefix("run=")) for part in job if part.startswith("run=")), None)
    return run is not None and (run / "export" / "run.json").is_file()


def table(new: dict, shipped: dict) -> str:
    """Figures side by side."""
    lines = [f"{'figure':28}{'retrained':>12}{'shipped':>12}"]
    for group in ("codec", "appearance"):
        for name, value in new[group].items():
            lines.append(f"{group + ' ' + name:28}{value:12.4g}{shipped.get(group, {}).get(name, float('nan')):12.4g}")
    return "\n".join(lines)


def main() -> None:
    """Run the jobs that are not finished, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, required=True, help="training time, all models together")
    parser.add_argument("--index", type=Path, default=Path("index.parquet"))
    parser.add_argument("--out", type=Path, default=Path("runs/reproduce"))
    arguments = parser.parse_args()
    if not arguments.index.is_file():
        raise UserError(
            f"{arguments.index}: no index; make one with `cxr-index build SOURCE FOLDER --out index.parquet`"
        )
    for job in jobs(arguments.index, arguments.out, arguments.minutes):
        if not finished(job):
            print("$ python", " ".join(job), flush=True)
            code = subprocess.run([sys.executable, *job]).returncode
            if code:
                raise SystemExit(code)
    new = json.loads((arguments.out / "model" / "figures.json").read_text())
    shipped = json.loads((SHIPPED / "figures.json").read_text()) if SHIPPED.is_dir() else {}
    print(table(new, shipped))


if __name__ == "__main__":
    with exit_on_user_error():
        main()

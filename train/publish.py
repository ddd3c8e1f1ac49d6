"""Make a small, shareable model folder of a run: python train/publish.py runs/text_256/export OUT [--codec DIR]

Casts weights to float16, puts in a codec whose decoder was trained further (its encoder must be the same), measures the
model on the index and writes the model card.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from diffusers import DDIMScheduler, DDPMScheduler

from gen.data.dataset import make_dataset
from gen.engine.checkpoint import replace_folder
from gen.engine.figures import appearance_figures, reconstruction_figures
from gen.errors import UserError, exit_on_user_error
from gen.models.codec import LatentCodec
from gen.models.loading import load_codec
from gen.pipeline import CXRPipeline
from gen.schema import DataConfig

SAMPLERS = {"ddim": DDIMScheduler, "ddpm": DDPMScheduler}
CARD = Path(__file__).parents[1] / "configs" / "model_card.md"


def with_codec(pipeline: CXRPipeline, codec: LatentCodec) -> CXRPipeline:
    """Exchange the codec, after checking that both encode alike."""
    difference = (codec.signature() - pipeline.vae.signature()).abs().max()
    if difference > 1e-3:
        raise UserError(
            f"--codec: its latents differ from the model's by {difference:.3g}; only the decoder may differ"
        )
    pipeline.register_modules(vae=codec)
    return pipeline


def measure(pipeline: CXRPipeline, index: Path) -> dict:
    """Figures on the test split (reconstruction) and on validation and test together (appearance)."""
    data = DataConfig(index=index, resolution=pipeline.config.resolution, may_ship_only=True)
    test, train = make_dataset(data, "test", 0), make_dataset(data, "train", 0)
    return {
        "codec": reconstruction_figures(pipeline.vae, test),
        "appearance": appearance_figures(pipeline, test, train),
    }


def write_model(pipeline: CXRPipeline, figures: dict, run: dict, folder: Path) -> None:
    """Weights in float16, figures and card."""
    pipeline.to(torch.float16).save_pretrained(folder, safe_serialization=True)
    (folder / "figures.json").write_text(json.dumps({**figures, "run": run}, indent=1))
    (folder / "README.md").write_text(CARD.read_text().replace("FIGURES", json.dumps(figures, indent=1)))


def main() -> None:
    """Publish one run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="export folder of train/ldm.py")
    parser.add_argument("out", type=Path, help="model folder to write")
    parser.add_argument("--codec", type=Path, help="export folder of a decoder trained further")
    parser.add_argument("--index", type=Path, default=Path("index.parquet"), help="index to measure on")
    parser.add_argument("--steps", type=int, help="the model's default sampling steps")
    parser.add_argument("--guidance", type=float, help="the model's default guidance scale")
    parser.add_argument("--sampler", choices=sorted(SAMPLERS), default="ddim", help="the model's default sampler")
    parser.add_argument("--name", default="cxr-gen", help="model name written into every record")
    arguments = parser.parse_args()
    pipeline = CXRPipeline.from_pretrained(arguments.run)
    defaults = {"steps": arguments.steps, "guidance": arguments.guidance, "name": arguments.name}
    pipeline.register_to_config(**{name: value for name, value in defaults.items() if value is not None})
    if arguments.codec:
        pipeline = with_codec(pipeline, load_codec(arguments.codec))
    pipeline.scheduler = SAMPLERS[arguments.sampler].from_config(pipeline.scheduler.config)
    figures = measure(pipeline, arguments.index)
    run = json.loads((arguments.run / "run.json").read_text())
    replace_folder(arguments.out, lambda folder: write_model(pipeline, figures, run, folder))
    size = sum(path.stat().st_size for path in arguments.out.rglob("*") if path.is_file())
    print(f"{arguments.out}: {size / 1e6:.1f} MB\n{json.dumps(figures, indent=1)}")


if __name__ == "__main__":
    with exit_on_user_error():
        main()

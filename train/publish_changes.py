"""Make a small model folder of a fine-tuned run: python train/publish_changes.py runs/view_256/export OUT --card CARD

Stores what differs from the base, in float16: the conditioner and the changes of the denoiser. Codec and text encoder
are the base's, so the folder belongs beside it. Runs trained with low_rank store exactly what was learned.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from shutil import rmtree

import torch

from gen.engine.checkpoint import replace_folder
from gen.errors import UserError, exit_on_user_error
from gen.models.changes import save_changes
from gen.pipeline import DEFAULT_MODEL, CXRPipeline

SHARED = ("vae", "text_encoder", "tokenizer")
ROUNDING = 2e-3  # of float16, relative


def check_shares(pipeline: CXRPipeline, base: CXRPipeline) -> None:
    """Raise UserError where codec or text encoder are not the base's."""
    for name in ("vae", "text_encoder"):
        own, theirs = (getattr(model, name).state_dict() for model in (pipeline, base))
        for key, tensor in theirs.items():
            if key not in own or not torch.allclose(own[key].float(), tensor.float(), rtol=ROUNDING, atol=1e-4):
                raise UserError(f"{name}: {key} is not that of the base; publish it whole by train/publish.py")


def write_changes(pipeline: CXRPipeline, base: CXRPipeline, folder: Path, beside: str) -> None:
    """A folder without what the base has."""
    weights = pipeline.unet.state_dict()
    pipeline.to(torch.float16).save_pretrained(folder, safe_serialization=True)
    for name in SHARED:
        rmtree(folder / name)
    (folder / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    save_changes(weights, base.unet.state_dict(), folder / "unet")
    index = folder / "model_index.json"
    settings = json.loads(index.read_text()) | {"base": beside, "base_hash": base.model_hash}
    index.write_text(json.dumps(settings, indent=2))


def card(template: Path, run: Path, figures: list[Path]) -> str:
    """The model card with the run and what the evaluations printed."""
    summary = json.loads((run / "run.json").read_text())
    told = f"{summary['step']:,} steps in {summary['seconds'] / 60:.0f} minutes, after the runs of the base"
    values = {"RUN": told, "FIGURES": "\n".join(path.read_text().strip() for path in figures)}
    text = template.read_text()
    for name, value in values.items():
        text = text.replace(f"{{{name}}}", value)
    return text


def main() -> None:
    """Publish one run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="export folder of train/ldm.py")
    parser.add_argument("out", type=Path, help="model folder to write, beside the base")
    parser.add_argument("--base", type=Path, default=DEFAULT_MODEL, help="model folder from which the run started")
    parser.add_argument("--card", type=Path, required=True, help="template of the model card")
    parser.add_argument("--figures", type=Path, nargs="*", default=[], help="text files for the card's figures")
    parser.add_argument("--steps", type=int, help="the model's default sampling steps")
    parser.add_argument("--guidance", type=float, help="the model's default guidance scale")
    parser.add_argument("--name", default="cxr-gen-views-256", help="model name written into every record")
    arguments = parser.parse_args()
    pipeline, base = CXRPipeline.from_pretrained(arguments.run), CXRPipeline.from_pretrained(arguments.base)
    check_shares(pipeline, base)
    chosen = {"steps": arguments.steps or base.config.steps, "guidance": arguments.guidance, "name": arguments.name}
    pipeline.register_to_config(**{name: value for name, value in chosen.items() if value is not None})
    pipeline.scheduler = base.scheduler

    def write(folder: Path) -> None:
        write_changes(pipeline, base, folder, arguments.base.absolute().name)
        (folder / "README.md").write_text(card(arguments.card, arguments.run, arguments.figures))

    replace_folder(arguments.out, write)
    size = sum(path.stat().st_size for path in arguments.out.rglob("*") if path.is_file())
    print(f"{arguments.out}: {size / 1e6:.1f} MB beside {arguments.base}")


if __name__ == "__main__":
    with exit_on_user_error():
        main()

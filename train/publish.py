"""Make a small, shareable model folder of a run: python train/publish.py runs/text_256/export OUT [--codec DIR]

Casts weights to float16, puts in a codec whose decoder was trained further (its encoder must be the same) or, with
--first, what a view model begins with, and with --base leaves out what is equal in another model's folder, and of the
denoiser all but the difference, of low rank. What is then there is measured on the index and written on the model card.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import torch
import yaml
from diffusers import DDIMScheduler, DDPMScheduler, LCMScheduler
from safetensors.torch import load_file, save_file

from gen.data.dataset import make_dataset
from gen.engine.checkpoint import replace_folder
from gen.engine.figures import appearance_figures, reconstruction_figures
from gen.errors import UserError, exit_on_user_error
from gen.models.codec import LatentCodec
from gen.models.differences import DIFFERENCE, difference, lost
from gen.models.first_view import FirstView
from gen.models.folders import read_settings
from gen.models.loading import home, lineage, load_codec, load_component
from gen.models.recoding import check_same_latents
from gen.models.views import ViewEncoder
from gen.pipeline import CXRPipeline
from gen.schedulers import SegmentScheduler
from gen.schema import DataConfig

SAMPLERS = {"ddim": DDIMScheduler, "ddpm": DDPMScheduler, "lcm": LCMScheduler}
CARDS = Path(__file__).parents[1] / "configs"
MOST_LOST = 0.25  # of the change; more, and the two are no kin
SHARED = ("vae", "text_encoder", "tokenizer")


def with_codec(pipeline: CXRPipeline, codec: LatentCodec) -> CXRPipeline:
    """Exchange the codec, after checking that both encode alike."""
    check_same_latents(codec, pipeline.vae, "--codec")
    pipeline.register_modules(vae=codec)
    return pipeline


def with_first_answer(pipeline: CXRPipeline, folder: Path) -> CXRPipeline:
    """Let a view model begin with the answer of a run of train/first_view.py, after checking that both encode alike.

    Errors: UserError for a model of another task, another size, or with an answer that its denoiser is shown.
    """
    if not isinstance(pipeline.conditioner, ViewEncoder):
        raise UserError(f"--first: for view models; this one's task is {pipeline.config.task}")
    if pipeline.conditioner.config.shown:
        raise UserError("--first: this model's denoiser learned with an answer of its own; leave the option out")
    check_same_latents(load_codec(folder / "vae"), pipeline.vae, "--first")
    first = load_component(FirstView, folder)
    first.check_side(pipeline.vae.latent_shape(pipeline.config.resolution)[1], "--first")
    pipeline.conditioner.beginning_with(first)
    return pipeline


def measure(pipeline: CXRPipeline, index: Path) -> tuple[dict, int]:
    """Figures on the test split: reconstruction, and the likeness of as many drawn images; and the training images."""
    data = DataConfig(index=index, resolution=pipeline.config.resolution, may_ship_only=True)
    test, train = make_dataset(data, "test", 0), make_dataset(data, "train", 0)
    figures = {
        "codec": reconstruction_figures(pipeline.vae, test),
        "appearance": appearance_figures(pipeline, test, train),
    }
    return figures, len(train)


def history(export: Path) -> list[dict]:
    """What was trained, first things first: the runs that a config or a published model names, then its own."""
    if not (export / "run.json").is_file():
        published = export / "figures.json"
        return json.loads(published.read_text())["runs"] if published.is_file() else []
    config = yaml.safe_load((export / "config.yaml").read_text())
    names = ("guide", "teacher", "initialise_from", "codec")
    task = config.get("task") or {}
    parts = ((config.get("text") or {}).get("model"), task.get("first"), config.get("coder"))
    before = (*(config.get(name) for name in names), *parts)
    runs = [run for folder in before if isinstance(folder, str) for run in history(Path(folder))]
    summary = json.loads((export / "run.json").read_text())
    own = {"run": Path(config["run"]).name, "step": summary["step"], "minutes": round(summary["seconds"] / 60, 1)}
    return [*runs, {**own, "batch_size": config["train"]["batch_size"], "figures": summary["figures"]}]


def card(template: Path, figures: dict, runs: list[dict], train_images: int) -> str:
    """A model card with this model's numbers in it."""
    steps = [f"| {run['run']} | {run['step']:,} | {run['batch_size']} | {run['minutes']:g} |" for run in runs]
    values = {"TRAIN_IMAGES": f"{train_images:,}", "RUNS": "\n".join(steps), "FIGURES": json.dumps(figures, indent=1)}
    text = template.read_text()
    for name, value in values.items():
        text = text.replace(f"{{{name}}}", value)
    return text


def _content(folder: Path) -> dict[str, object]:
    """Weights and words of a component; a tokenizer also notes how long the last texts were, which is left out."""
    content: dict[str, object] = {path.name: path.read_bytes() for path in folder.glob("*.safetensors")}
    for path in folder.glob("tokenizer.json"):
        content |= {k: v for k, v in json.loads(path.read_text()).items() if k not in ("truncation", "padding")}
    return content


def slim(folder: Path, base: Path, rank: int) -> float:
    """Leave out of a model's folder what its base has; returns the share of the denoiser's change that is lost.

    A denoiser that is no small change of the base's stays as it is.
    """
    line = lineage(base, read_settings(base / "model_index.json"))
    for name in SHARED:
        if _content(folder / name) == _content(home(line, name) / name):
            shutil.rmtree(folder / name)
    weights = next((folder / "unet").glob("*.safetensors"))
    tuned, start = load_file(weights), CXRPipeline.from_pretrained(base, torch_dtype=torch.float16).unet.state_dict()
    stored = difference(tuned, start, rank)
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps({**index, "base": base.name}, indent=2))
    missing = lost(tuned, start, stored)
    if missing > MOST_LOST or stored.keys() >= tuned.keys():
        return 0.0
    weights.unlink()
    save_file(stored, folder / "unet" / DIFFERENCE)
    return missing


def resampled(pipeline: CXRPipeline, sampler: str | None, segments: int | None) -> CXRPipeline:
    """With another sampler on the same schedule, or another number of segments; the run's own where neither is given.

    Errors: UserError for segments of a sampler that has none.
    """
    if sampler is not None:
        pipeline.scheduler = SAMPLERS[sampler].from_config(pipeline.scheduler.config)
    if segments is not None:
        if not isinstance(pipeline.scheduler, SegmentScheduler):
            raise UserError(f"--segments: {type(pipeline.scheduler).__name__} has none; leave it out")
        pipeline.scheduler = SegmentScheduler.from_config(pipeline.scheduler.config, segments=segments)
    return pipeline


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="export folder of train/ldm.py or train/lcm.py")
    parser.add_argument("out", type=Path, help="model folder to write, beside its base if it has one")
    parser.add_argument("--codec", type=Path, help="export folder of a decoder trained further")
    parser.add_argument("--first", type=Path, help="export folder of train/first_view.py, for a view model")
    parser.add_argument("--index", type=Path, default=Path("index.parquet"), help="index to measure on")
    parser.add_argument("--steps", type=int, help="the model's default sampling steps")
    parser.add_argument("--guidance", type=float, help="the model's default guidance scale")
    parser.add_argument("--sampler", choices=sorted(SAMPLERS), help="the default sampler; the run's own if left out")
    parser.add_argument("--segments", type=int, help="segments of a student's sampler; its own if left out")
    parser.add_argument("--name", default="cxr-gen", help="model name written into every record")
    parser.add_argument("--figures", type=Path, help="JSON of figures to print on the card, in place of measuring")
    parser.add_argument("--base", type=Path, help="model folder of which only the differences are kept")
    parser.add_argument("--rank", type=int, default=16, help="rank of the kept differences")
    return parser.parse_args()


def ready(arguments: argparse.Namespace) -> CXRPipeline:
    """The run's pipeline with the codec, the sampler and the defaults that were asked for."""
    pipeline = CXRPipeline.from_pretrained(arguments.run)
    defaults = {"steps": arguments.steps, "guidance": arguments.guidance, "name": arguments.name}
    pipeline.register_to_config(**{name: value for name, value in defaults.items() if value is not None})
    if arguments.first:
        pipeline = with_first_answer(pipeline, arguments.first)
    if arguments.codec:
        pipeline = with_codec(pipeline, load_codec(arguments.codec))
    return resampled(pipeline, arguments.sampler, arguments.segments)


def publish(arguments: argparse.Namespace, folder: Path) -> dict:
    """Write weights in float16, figures of what was written, and the card; returns the figures."""
    pipeline = ready(arguments)
    pipeline.to(torch.float16).save_pretrained(folder, safe_serialization=True)
    if arguments.base:
        print(f"{slim(folder, arguments.base, arguments.rank):.2%} of the change of weights is left out")
    if arguments.figures:
        figures, images = json.loads(arguments.figures.read_text()), 0
    else:
        figures, images = measure(CXRPipeline.from_pretrained(folder), arguments.index)
    exports = [export for export in (arguments.codec, arguments.first, arguments.run) if export is not None]
    runs = list({run["run"]: run for export in exports for run in history(export)}.values())
    template = CARDS / f"{'model' if pipeline.config.task == 'text' else pipeline.config.task}_card.md"
    (folder / "figures.json").write_text(json.dumps({**figures, "runs": runs}, indent=1))
    (folder / "README.md").write_text(card(template, figures, runs, images))
    return figures


def main() -> None:
    """Publish one run."""
    arguments, figures = parsed(), {}
    replace_folder(arguments.out, lambda folder: figures.update(publish(arguments, folder)))
    size = sum(path.stat().st_size for path in arguments.out.rglob("*") if path.is_file())
    print(f"{arguments.out}: {size / 1e6:.1f} MB\n{json.dumps(figures, indent=1)}")


if __name__ == "__main__":
    with exit_on_user_error():
        main()

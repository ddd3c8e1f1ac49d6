"""Membership inference: whether a generator denoises its training radiographs better than others (arXiv 2302.01316)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from gen import seeds
from gen.data.images import to_model
from gen.data.prompts import prompt_from_row
from gen.models.denoiser import Denoiser
from gen.objectives import schedule

from .context import Context
from .labels import auroc
from .plots import roc
from .resampling import as_figure
from .section import BAD, GOOD, UNCLEAR, Plot, Section, Verdict
from .separation import separation
from .stats import Interval

if TYPE_CHECKING:
    from gen.pipeline import CXRPipeline

LIMIT = 150  # images of either kind
MINIMUM = 30
STEPS = (0.1, 0.3)  # of the schedule; memory shows where some of the image is left
BATCH = 10
TOLD = 0.6  # AUROC below which membership can hardly be used against a patient


def candidates(context: Context) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Training and held-out rows that may be compared: as many of each source, all free to ship where that is known.

    A model trained on the rows that may ship has seen no others; a source with other brightness would pass for memory.
    """
    generator = context.generator("membership")
    tables = [context.train, context.reference]
    if all("may_ship" in rows for rows in tables):
        tables = [rows[rows["may_ship"]] for rows in tables]
    source = lambda rows: rows["source"] if "source" in rows else pd.Series("", index=rows.index)  # noqa: E731
    chosen: tuple[list, list] = ([], [])
    for name in sorted(set(source(tables[0])) & set(source(tables[1]))):
        parts = [rows[source(rows) == name] for rows in tables]
        count = min(map(len, parts))
        for side, part in zip(chosen, parts, strict=True):
            side.append(part.iloc[np.sort(generator.permutation(len(part))[:count])])
    if not chosen[0]:
        return tables[0].iloc[:0], tables[1].iloc[:0]
    cut = generator.permutation(sum(map(len, chosen[0])))[:LIMIT]
    return tuple(pd.concat(side).iloc[np.sort(cut)].reset_index(drop=True) for side in chosen)


@torch.no_grad()
def denoising_losses(pipeline: CXRPipeline, pixels: np.ndarray, prompts: list[str]) -> np.ndarray:
    """Mean squared error of the denoiser's prediction at fixed times, with the same noise for every image.

    Shapes: pixels [N, S, S] uint8 at the pipeline's resolution -> [N].
    """
    codec, denoiser = pipeline.vae, Denoiser(pipeline.unet)
    scheduler, device = pipeline.scheduler, pipeline._execution_device
    losses = []
    for start in tqdm(range(0, len(pixels), BATCH), desc="membership", unit="batch", disable=None):
        images = torch.from_numpy(to_model(pixels[start : start + BATCH]))[:, None].to(device, codec.dtype)
        moments = codec.moments(images)
        z0 = codec.sample(moments).to(pipeline.unet.dtype)
        condition = pipeline.task({"prompt": prompts[start : start + BATCH]})
        noise = torch.randn(z0.shape[1:], generator=seeds.generator("membership"))[None].expand_as(z0).to(z0)
        total = torch.zeros(len(z0))
        for part in STEPS:
            t = torch.full((len(z0),), int(part * scheduler.config.num_train_timesteps), device=device)
            alpha, sigma = schedule.alpha_sigma(scheduler.alphas_cumprod.to(device), t)
            output = denoiser(schedule.add_noise(z0, noise, alpha, sigma), t, condition)
            target = schedule.target(scheduler.config.prediction_type, z0, noise, alpha, sigma)
            total += (output - target).float().square().mean(dim=(1, 2, 3)).cpu()
        losses.append(total.numpy())
    return np.concatenate(losses)


def losses_of(context: Context, pipeline: CXRPipeline, rows: pd.DataFrame) -> np.ndarray:
    """Losses of rows under their own canonical prompts. Shapes: -> [N]."""
    prompts = [prompt_from_row(row) for row in rows.to_dict("records")]
    return denoising_losses(pipeline, context.pixels(rows, pipeline.config.resolution), prompts)


class NoLosses(Exception):
    """Why there is no generator whose denoising losses can be compared; one sentence."""


def generator_of(context: Context) -> CXRPipeline:
    """The generator that was named, or the shipped one where the manifest says that it drew the set.

    A few-step student has no denoising loss; the model that it was distilled from saw the same images and stands in.
    Errors: NoLosses.
    """
    from gen.pipeline import DEFAULT_MODEL, CXRPipeline

    pipeline = CXRPipeline.from_pretrained(context.model or DEFAULT_MODEL)
    drawn = set(map(str, context.synthetic.get("model_hash", [])))
    if context.model is None and drawn != {pipeline.model_hash}:
        raise NoLosses("it needs the generator that drew the set; name it with --model")
    return _with_losses(Path(context.model or DEFAULT_MODEL), pipeline)


def _with_losses(folder: Path, pipeline: CXRPipeline) -> CXRPipeline:
    from gen.models.folders import read_settings
    from gen.models.loading import lineage
    from gen.pipeline import CXRPipeline

    if not Denoiser(pipeline.unet).embeds_guidance:
        return pipeline
    older = lineage(folder, read_settings(folder / "model_index.json"))[1:] if folder.is_dir() else []
    for base in map(CXRPipeline.from_pretrained, older):
        if base.config.task == pipeline.config.task and not Denoiser(base.unet).embeds_guidance:
            return base
    raise NoLosses(
        f"{folder.name} draws in few steps and has no denoising loss, and the model that it was distilled from is "
        "not beside it; name that one with --model"
    )


def judge_membership(context: Context, section: Section) -> None:
    """Figures, curve and verdict of membership inference, or the reason why there are none."""
    try:
        pipeline = generator_of(context)
    except NoLosses as reason:
        section.verdicts.append(Verdict(UNCLEAR, f"Membership inference was not measured: {reason}."))
        return
    members, others = candidates(context)
    if len(members) < MINIMUM:
        words = f"Membership inference: only {len(members)} training and held-out images can be compared; not measured."
        section.verdicts.append(Verdict(UNCLEAR, words))
        return
    seen, unseen = (losses_of(context, pipeline, rows) for rows in (members, others))
    area = separation(context, -seen, -unseen, [members, others], "membership")
    control = _with_shuffled_labels(context, seen, unseen)
    n = len(seen) + len(unseen)
    section.figures.append(as_figure("membership inference (AUROC)", area, n, "", "low", 0.5, control))
    picture = roc({"training image": (-seen, -unseen)})
    section.plots.append(Plot("Membership by the generator's denoising loss: training against held-out", picture))
    section.verdicts.append(_verdict(area, n))


def _with_shuffled_labels(context: Context, seen: np.ndarray, unseen: np.ndarray) -> float:
    scores = context.generator("membership labels").permutation(-np.concatenate([seen, unseen]))
    return float(auroc(scores, np.r_[np.ones(len(seen)), np.zeros(len(unseen))]))


def _verdict(area: Interval, n: int) -> Verdict:
    words = f"training images are told from others by the generator's loss with AUROC {area.value:.2f} (chance 0.50)"
    if area.low > 0.5:
        return Verdict(BAD, f"The generator remembers: {words}.")
    if area.high < TOLD:
        return Verdict(GOOD, f"No sign of membership: {words}.")
    reach = f"{area.low:.2f} to {area.high:.2f}"
    return Verdict(UNCLEAR, f"Membership: {words}, but the interval is {reach} at {n} images.")

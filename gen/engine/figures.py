"""Figures of a codec and of a generator that need no other network: quick, deterministic, for comparing runs.

They guard training and are not the evaluation: that is `cxr-eval`.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics.functional.image import structural_similarity_index_measure
from tqdm import tqdm

from gen.data.dataset import CXRDataset, collate
from gen.data.images import from_model
from gen.engine.loop import to_device
from gen.judges.frechet import frechet_distance
from gen.models.codec import LatentCodec
from gen.objectives.diffusion import DiffusionObjective
from gen.objectives.reconstruction import psnr
from gen.pipeline import CXRPipeline
from gen.seeds import generator
from gen.tasks.latents import target_latents, with_link_latents

PICTURED = 6
COMPONENTS = 32
THUMBNAIL = 32  # pixels a side


@torch.no_grad()
def reconstruction_figures(codec: LatentCodec, dataset: CXRDataset, picture: Path | None = None) -> dict[str, float]:
    """Mean PSNR (dB) and SSIM of posterior-mean reconstructions, of all and, where there are several, by source.

    `picture` shows originals above their reconstructions.
    """
    found, shown = [], []
    for row in range(len(dataset)):
        image = dataset.image(row)[None].to(codec.device)
        output = codec.reconstruct(image).clamp(-1, 1)
        ssim = structural_similarity_index_measure(output, image, data_range=2.0)
        found.append(
            {"psnr": psnr(output, image).item(), "ssim": ssim.item(), "source": dataset.records[row]["source"]}
        )
        if row < PICTURED:
            shown.append(torch.cat([image, output], dim=2)[0, 0])
    if picture is not None:
        Image.fromarray(from_model(torch.cat(shown, dim=1).cpu().numpy())).save(picture)
    return _by_source(pd.DataFrame(found))


def _by_source(found: pd.DataFrame) -> dict[str, float]:
    """Means of all rows, and of each source's where there are several."""
    figures = {name: float(found[name].mean()) for name in ("psnr", "ssim")}
    if found["source"].nunique() > 1:
        for source, part in found.groupby("source"):
            figures |= {f"{name} {source}": float(part[name].mean()) for name in ("psnr", "ssim")}
    return figures


@torch.no_grad()
def held_out_losses(
    codec: LatentCodec, trained: nn.ModuleDict, objective: DiffusionObjective, dataset: CXRDataset, limit: int = 256
) -> dict[str, float]:
    """Diffusion loss on images that were not trained on, with their own condition and with parts of other images'.

    Prompts, times and noise are the same in every run. A model that does not heed its prompt has two equal losses;
    which other parts are exchanged is the task's `control`.
    """
    rows = list(range(min(limit, len(dataset))))
    order = torch.randperm(len(rows), generator=generator("other prompts")).tolist()
    loss = partial(_loss_with, codec, trained, objective, dataset, rows)
    figures = {"val_loss": loss(rows, ())}
    for name, exchanged in trained["task"].control.items():
        figures[f"val_loss_other_{name}"] = loss(order, exchanged)
    return figures


def _loss_with(
    codec: LatentCodec,
    trained: nn.ModuleDict,
    objective: DiffusionObjective,
    dataset: CXRDataset,
    rows: list[int],
    others: list[int],
    exchanged: tuple[str, ...],
) -> float:
    """Mean loss over rows whose batch keys named in `exchanged` come from other rows."""
    noise = generator("held out")
    total = 0.0
    for first in range(0, len(rows), 32):
        part = rows[first : first + 32]
        samples = [dataset[row, row] for row in part]
        for sample, other in zip(samples, others[first : first + 32], strict=True):
            sample |= {name: dataset[other, other][name] for name in exchanged}
        batch = with_link_latents(codec, to_device(collate(samples), codec.device))
        z0 = trained["task"].drawn(target_latents(codec, batch, draw=False), batch)
        losses = objective(trained["denoiser"], z0, trained["task"](batch), noise)
        total += float(losses["diffusion"]) * len(part)
    return total / len(rows)


def appearance_figures(pipeline: CXRPipeline, real: CXRDataset, train: CXRDataset, batch: int = 8) -> dict[str, float]:
    """Frechet distance of generated images to held-out real ones, beside that of as many training images.

    One image is drawn for each held-out row from that row's prompt. Features are principal components of 32-pixel
    thumbnails, so the figure sees anatomy and contrast, not texture. `ratio` 1 means as close as real images are.
    """
    prompts = [real[row, row]["prompt"] for row in range(len(real))]
    drawn = []
    for first in tqdm(range(0, len(prompts), batch), desc="draw", unit="batch"):
        part = prompts[first : first + batch]
        seed = list(range(first, first + len(part)))
        drawn.append(torch.from_numpy(pipeline(part, seed=seed, output_type="np", progress=False).images))
    generated = thumbnails(torch.cat(drawn)[:, None] * 2 - 1)
    held_out = thumbnails(torch.stack([real.image(row) for row in range(len(real))]))
    step = max(1, len(train) // len(real))
    seen = thumbnails(torch.stack([train.image(row) for row in range(0, len(train), step)][: len(real)]))
    project = principal_components(np.concatenate([held_out, seen]))
    distance = frechet_distance(project(generated), project(held_out))
    floor = frechet_distance(project(seen), project(held_out))
    return {"distance": distance, "real_distance": floor, "ratio": distance / floor, "images": len(real)}


def thumbnails(images: Tensor) -> np.ndarray:
    """Shapes: [N, 1, H, W] -> [N, 1024]."""
    return F.adaptive_avg_pool2d(images, THUMBNAIL).flatten(1).double().numpy()


def principal_components(vectors: np.ndarray):
    """The projection on the strongest components of these vectors, as a function."""
    mean = vectors.mean(0)
    basis = np.linalg.svd(vectors - mean, full_matrices=False)[2][:COMPONENTS]
    return lambda others: (others - mean) @ basis.T

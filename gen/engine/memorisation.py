"""Whether a text model draws its training images: asked at every validation, so that training ends in time."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from gen.data.dataset import CXRDataset, collate
from gen.engine.loop import to_device
from gen.errors import UserError
from gen.judges.neighbours import CopyThreshold, copy_threshold, nearest
from gen.models.codec import LatentCodec
from gen.pipeline import CXRPipeline
from gen.schema import MemorisationConfig
from gen.seeds import generator
from gen.tasks.latents import target_latents

SIDE = 16  # positions a side at which latents are compared
BATCH = 16
LEAST = 20  # images, of different patients, that `copy_threshold` asks for


class Memorisation:
    """The share of drawings that lie nearer to a training image than radiographs of other patients do.

    Compared are latents by their cosine: a drawing is softer than a radiograph, which would bring it nearer to
    everything. Nothing is decoded, and what is compared with is read once.
    """

    def __init__(self, config: MemorisationConfig, codec: LatentCodec, train: CXRDataset, held_out: CXRDataset) -> None:
        self.config, self.codec, self.train, self.held_out = config, codec, train, held_out
        count = len(train) + len(held_out)
        if count < LEAST:
            raise UserError(
                f"memorisation: {count} images in train and val, where it takes {LEAST} to say what a copy is; "
                "set memorisation=null"
            )

    def figures(self, pipeline: CXRPipeline) -> dict[str, float]:
        """`copies`, the share of copies, and `nearness`, the smallest distance in units of a copy's largest."""
        distances = self.distances(self._drawn(pipeline)) / self.threshold.threshold
        return {"copies": float((distances < 1).mean()), "nearness": float(distances.min())}

    def overdone(self, figures: dict[str, float]) -> str:
        """Why training should have ended before, or nothing."""
        share, limit = figures["copies"], self.config.limit
        return f"{share:.3g} of the drawings are copies of training images (limit {limit:g})" if share > limit else ""

    def distances(self, latents: Tensor) -> np.ndarray:
        """From the nearest training image, 1 less the cosine. Shapes: [N, C, h, w] -> [N]."""
        return nearest(_pooled(latents), self._known, 1, metric="cosine")[0][:, 0]

    @cached_property
    def threshold(self) -> CopyThreshold:
        """Below which distance a drawing is a copy.

        Errors: UserError where training and validation split have too few images of different patients.
        """
        patients = _patients(self.train), _patients(self.held_out)
        return copy_threshold(self._known, self._vectors(self.held_out), *patients, self.config.false_alarms, "cosine")

    @cached_property
    def _known(self) -> Tensor:
        return self._vectors(self.train)

    @torch.no_grad()
    def _vectors(self, dataset: CXRDataset) -> Tensor:
        """Posterior means of all images. Shapes: -> [N, D]."""
        parts = []
        for first in range(0, len(dataset), BATCH):
            rows = range(first, min(first + BATCH, len(dataset)))
            batch = to_device(collate([dataset[row, row] for row in rows]), self.codec.device)
            parts.append(_pooled(target_latents(self.codec, batch, draw=False)))
        return torch.cat(parts)

    def _drawn(self, pipeline: CXRPipeline) -> Tensor:
        """Latents drawn by prompts of training images, the same rows and seeds at every validation."""
        order = torch.randperm(len(self.train), generator=generator("memorisation")).tolist()
        prompts = [self.train[row, row]["prompt"] for row in order[: self.config.images]]
        parts = [
            pipeline(prompts[first : first + BATCH], seed=first, output_type="latent", progress=False).images
            for first in range(0, len(prompts), BATCH)
        ]
        return torch.cat(parts)


def _pooled(latents: Tensor) -> Tensor:
    """Shapes: [N, C, h, w] -> [N, D]."""
    return F.adaptive_avg_pool2d(latents.float().cpu(), SIDE).flatten(1)


def _patients(dataset: CXRDataset) -> list[str]:
    columns = dataset.records.columns
    sources = columns["source"] if "source" in columns else [""] * len(dataset)
    return [f"{source}/{patient}" for source, patient in zip(sources, columns["patient_id"], strict=True)]

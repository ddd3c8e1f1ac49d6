"""Training an image-text model on the prompts that the rows of an index say, or an image-events model on its pairs."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from gen import seeds
from gen.data.augment import augment_batch
from gen.data.dataset import StepBatches
from gen.data.labelled import LabelledImages
from gen.data.moments import fingerprint
from gen.data.prompts import prompt_from_row
from gen.engine.learner import Learner
from gen.engine.sides import Pairs, Side
from gen.judges.alignment import BATCH, ImageText, retrieval
from gen.models.clip import RadiographCLIP
from gen.schema import DataConfig, Strict, TrainConfig
from gen.schema.tasks import EventsConfig


class ClipEventsConfig(EventsConfig):
    """The encoder of events that a contrast trains; one that starts a temporal model has that model's shape."""

    token_width: int = Field(gt=0, description="width of its tokens: that of the temporal model's text encoder")


class ClipConfig(Strict):
    """The model (gen.models.clip.RadiographCLIP): an open_clip architecture, or a reader and a small text encoder.

    With `events` the temporal task's encoder of events takes the place of the text encoder.
    """

    model: str | None = Field(None, description="architecture that open_clip knows, e.g. ViT-B-32")
    reader: Path | None = Field(None, description="folder of a trained reader that becomes the image tower")
    locked: bool = Field(
        False, description="leave the reader's weights as they are (LiT, arXiv 2111.07991); unaugmented it looks once"
    )
    embed: int = Field(128, description="width of the common space (with reader)")
    words: int = Field(2048, description="size of the tokenizer's vocabulary")
    max_tokens: int = Field(48, description="tokens a prompt (with reader)")
    width: int = Field(128, description="width of the text encoder (with reader)")
    layers: int = Field(2, description="layers of the text encoder (with reader)")
    heads: int = Field(4, description="attention heads of the text encoder (with reader)")
    events: ClipEventsConfig | None = Field(
        None, description="contrast with the events before an image; None contrasts with prompts"
    )
    image: Literal["target", "prior", "change"] = Field(
        "target", description="with events: what is seen is the image after them, the one before, or their difference"
    )

    @model_validator(mode="after")
    def _one_of_two(self) -> ClipConfig:
        if (self.model is None) == (self.reader is None):
            raise ValueError("give either model or reader")
        if self.locked and self.reader is None:
            raise ValueError("locked: only a trained reader is worth keeping; leave it out with model")
        if self.image != "target" and self.events is None:
            raise ValueError(f"image: a prompt is of the image itself; leave {self.image} out, or give events")
        return self


class ContrastiveJob(Strict):
    """train/contrastive.py"""

    run: Path = Field(description="folder of states, export and metrics")
    data: DataConfig
    clip: ClipConfig
    augmentation: float = Field(1.0, ge=0, description="multiple of the small changes of gen.data.augment")
    train: TrainConfig


class ContrastiveLearner(Learner):
    """Both towers, the pairs in memory, and how the half that is no image is said."""

    def __init__(self, model: RadiographCLIP, side: Side, train: Pairs, held_out: Pairs, job: ContrastiveJob) -> None:
        super().__init__()
        self.pairs, self.held_out, self.side, self.job = train, held_out, side, job
        if job.clip.locked:
            reader = model.clip.visual.reader.requires_grad_(False)
            if job.augmentation == 0:  # then it says the same of an image at every step
                self.pairs, self.held_out = train.read_by(reader), held_out.read_by(reader)
        self.trained = nn.ModuleDict({"clip": model})

    def forward(self, batch: dict) -> dict[str, Tensor]:
        """Symmetric cross-entropy over the batch; a prior is moved as its image is, for their difference counts.

        Shapes: image and prior [B, 1, S, S] or features [B, F], said as of the side.
        """
        from open_clip.loss import ClipLoss

        model = self.trained["clip"]
        if self.job.clip.locked:
            model.clip.visual.reader.eval()
        state = torch.get_rng_state()
        image = self._moved(batch["image"])
        if "prior" in batch:
            torch.set_rng_state(state)
        prior = self._moved(batch["prior"]) if "prior" in batch else None
        return {"contrast": ClipLoss()(model.images(image, prior), model.texts(batch["said"]), model.scale)}

    def _moved(self, image: Tensor) -> Tensor:
        return augment_batch(image, self.job.augmentation)[0]

    def batches(self, rank: int, world: int, start: int) -> Iterator[dict]:
        """Endless training batches of one rank; the position in the run seeds each prompt's words."""
        train = self.job.train
        for rows in StepBatches(len(self.pairs), train.batch_size, train.seed, rank, world, start):
            said = [self._said(row, position) for row, position in rows]
            yield {**self.pairs.batch([row for row, _ in rows]), "said": self.side.batch(said)}

    def _said(self, row: int, position: int) -> str:
        rng = random.Random(seeds.mix(self.job.train.seed, "sample", position))
        return self.side.said(self.pairs.records[row], rng)

    def data_fingerprint(self) -> str:
        """Of the training images and what their rows say."""
        return fingerprint(self.pairs.keys, [self.side.said(record) for record in self.pairs.records])

    @torch.no_grad()
    def validate(self, trained: nn.ModuleDict, folder: Path) -> dict[str, float]:
        """Alignment of held-out images with what their rows say in the canonical way."""
        pairs, model = self.held_out, trained["clip"]
        said = [self.side.said(record) for record in pairs.records]
        parts = [list(range(first, min(first + BATCH, len(pairs)))) for first in range(0, len(pairs), BATCH)]
        batches = [pairs.batch(rows) | {"said": self.side.batch([said[row] for row in rows])} for rows in parts]
        prior = [batch["prior"].to(model.device) if "prior" in batch else None for batch in batches]
        seen = [model.images(one["image"].to(model.device), of).cpu() for one, of in zip(batches, prior, strict=True)]
        told = [model.texts(_placed(batch["said"], model.device)).cpu() for batch in batches]
        return alignment_figures(torch.cat(seen), torch.cat(told), equal(said) | pairs.same_image(), self.side.name)

    def export(self, trained: nn.ModuleDict, folder: Path) -> None:
        """The model, and what its other half needs beside it."""
        trained["clip"].save_pretrained(folder)
        self.side.save(trained["clip"], folder)


def _placed(said: object, device: torch.device) -> object:
    return said.to(device) if isinstance(said, Tensor) else said


def equal(said: list[str]) -> Tensor:
    """Which say the same. Shapes: -> [N, N]."""
    places = {words: place for place, words in enumerate(dict.fromkeys(said))}
    numbers = torch.tensor([places[words] for words in said])
    return numbers[:, None] == numbers[None]


def prompt_figures(judge: ImageText, images: LabelledImages, records: list[dict]) -> dict[str, float]:
    """`alignment_figures` of images and their canonical prompts."""
    prompts = [prompt_from_row(record) for record in records]
    return alignment_figures(judge.images(images.images.float() / 127.5 - 1), judge.texts(prompts), equal(prompts))


def alignment_figures(seen: Tensor, said: Tensor, same: Tensor, name: str = "text") -> dict[str, float]:
    """Mean cosine of images with what is said of them and of others, how often the own wins, and retrieval.

    `own_wins` is over all pairs of images of which something else is said; a half is chance. `same` tells who may stand
    for whom. Shapes: [N, E], [N, E] unit vectors, same [N, N].
    """
    similarity, own = seen @ said.T, (seen * said).sum(1)
    return {
        "own": float(own.mean()),
        "other": float(similarity[~same].mean()),
        "own_wins": float((own[:, None] > similarity)[~same].float().mean()),
        "images": len(seen),
        **retrieval(seen, said, same=same, name=name),
    }

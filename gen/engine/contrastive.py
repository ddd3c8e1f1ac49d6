"""Training an image-text model: on the images of an index and the prompts that their rows say."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from gen import seeds
from gen.data.augment import augment_batch
from gen.data.dataset import StepBatches
from gen.data.labelled import LabelledImages
from gen.data.moments import fingerprint
from gen.data.prompts import prompt_from_row
from gen.engine.learner import Learner
from gen.judges.alignment import ImageText, retrieval
from gen.models.clip import RadiographCLIP, tokens_of
from gen.schema import DataConfig, Strict, TrainConfig


class ClipConfig(Strict):
    """The model (gen.models.clip.RadiographCLIP): an open_clip architecture, or a reader and a small text encoder."""

    model: str | None = Field(None, description="architecture that open_clip knows, e.g. ViT-B-32")
    reader: Path | None = Field(None, description="folder of a trained reader that becomes the image tower")
    locked: bool = Field(False, description="leave the reader's weights as they are (LiT, arXiv 2111.07991)")
    embed: int = Field(128, description="width of the common space (with reader)")
    words: int = Field(2048, description="size of the tokenizer's vocabulary")
    max_tokens: int = Field(48, description="tokens a prompt (with reader)")
    width: int = Field(128, description="width of the text encoder (with reader)")
    layers: int = Field(2, description="layers of the text encoder (with reader)")
    heads: int = Field(4, description="attention heads of the text encoder (with reader)")

    @model_validator(mode="after")
    def _one_of_two(self) -> ClipConfig:
        if (self.model is None) == (self.reader is None):
            raise ValueError("give either model or reader")
        if self.locked and self.reader is None:
            raise ValueError("locked: only a trained reader is worth keeping; leave it out with model")
        return self


class ContrastiveJob(Strict):
    """train/contrastive.py"""

    run: Path = Field(description="folder of states, export and metrics")
    data: DataConfig
    clip: ClipConfig
    augmentation: float = Field(1.0, ge=0, description="multiple of the small changes of gen.data.augment")
    train: TrainConfig


class ContrastiveLearner(Learner):
    """Both towers, the images in memory and the rows whose prompts are said anew at every step."""

    def __init__(
        self,
        model: RadiographCLIP,
        tokenizer: PreTrainedTokenizerBase,
        train: tuple[LabelledImages, list[dict]],
        held_out: tuple[LabelledImages, list[dict]],
        job: ContrastiveJob,
    ) -> None:
        super().__init__()
        (self.images, self.records), self.held_out = train, held_out
        self.job, self.tokenizer = job, tokenizer
        if job.clip.locked:
            model.clip.visual.reader.requires_grad_(False)
        self.trained = nn.ModuleDict({"clip": model})

    def forward(self, batch: dict) -> dict[str, Tensor]:
        """Symmetric cross-entropy over the batch. Shapes: image [B, 1, S, S], tokens [B, L]."""
        from open_clip.loss import ClipLoss

        model = self.trained["clip"]
        if self.job.clip.locked:
            model.clip.visual.reader.eval()
        image, _ = augment_batch(batch["image"], self.job.augmentation)
        return {"contrast": ClipLoss()(model.images(image), model.texts(batch["tokens"]), model.scale)}

    def batches(self, rank: int, world: int, start: int) -> Iterator[dict]:
        """Endless training batches of one rank; the position in the run seeds each prompt's words."""
        train, length = self.job.train, self.trained["clip"].clip.context_length
        for rows in StepBatches(len(self.images), train.batch_size, train.seed, rank, world, start):
            said = [self._prompt(row, position) for row, position in rows]
            batch = self.images.batch([row for row, _ in rows])
            yield {"image": batch["image"], "key": batch["key"], "tokens": tokens_of(self.tokenizer, said, length)}

    def _prompt(self, row: int, position: int) -> str:
        rng = random.Random(seeds.mix(self.job.train.seed, "sample", position))
        return prompt_from_row(self.records[row], rng, use_report=0)

    def data_fingerprint(self) -> str:
        """Of the training images and what their rows say."""
        return fingerprint(self.images.keys, [prompt_from_row(record) for record in self.records])

    def validate(self, trained: nn.ModuleDict, folder: Path) -> dict[str, float]:
        """Alignment of held-out images with their canonical prompts."""
        images, records = self.held_out
        return alignment_figures(ImageText(trained["clip"], self.tokenizer), images, records)

    def export(self, trained: nn.ModuleDict, folder: Path) -> None:
        """Model and tokenizer."""
        trained["clip"].save_pretrained(folder)
        self.tokenizer.save_pretrained(folder / "tokenizer")


def alignment_figures(judge: ImageText, images: LabelledImages, records: list[dict]) -> dict[str, float]:
    """Mean cosine of images with their own prompts and with others', how often the own one wins, and retrieval.

    `own_wins` is over all pairs of images with different prompts; a half is chance.
    """
    prompts = [prompt_from_row(record) for record in records]
    seen, said = judge.images(images.images.float() / 127.5 - 1), judge.texts(prompts)
    similarity = seen @ said.T
    other = torch.tensor([[a != b for b in prompts] for a in prompts])
    own = similarity.diagonal()
    return {
        "own": float(own.mean()),
        "other": float(similarity[other].mean()),
        "own_wins": float((own[:, None] > similarity)[other].float().mean()),
        "images": len(prompts),
        **retrieval(seen, said),
    }

"""Train the small text encoder: accelerate launch train/text.py configs/text_encoder.yaml [key=value ...]

Prompts are made without end from the suite's own templates; the encoder learns to tell view, sex, age and findings from
the mean of its token states. A denoiser then starts from words that mean something, which a few thousand images cannot
teach. No radiograph is looked at.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedTokenizerBase

from gen import seeds
from gen.config import load_job
from gen.data.compose import ANSWERS, CORPUS_SIZE, attributed_prompt, prompt_corpus
from gen.data.index import read_index
from gen.data.prompts import prompt_from_row
from gen.data.vocabulary import VOCABULARY
from gen.engine.checkpoint import replace_folder
from gen.engine.learner import Learner
from gen.engine.loop import Loop
from gen.engine.processes import processes
from gen.errors import exit_on_user_error
from gen.models.condition import masked_mean
from gen.models.text import build_text_encoder, load_tokenizer, train_tokenizer
from gen.schema import TextEncoderJob

HELD_OUT = 512  # prompts of a validation


class TextLearner(Learner):
    """The encoder and one linear reader an attribute."""

    def __init__(self, job: TextEncoderJob) -> None:
        super().__init__()
        self.job = job
        encoder = build_text_encoder(job.text, self._words())
        sizes = {name: len(answers) for name, answers in ANSWERS.items()} | {"findings": len(VOCABULARY)}
        readers = {name: nn.Linear(encoder.width, size) for name, size in sizes.items()}
        self.trained = nn.ModuleDict({"text": encoder, "readers": nn.ModuleDict(readers)})

    def _words(self) -> PreTrainedTokenizerBase:
        """The tokenizer, made once a run."""
        folder = self.job.run / "tokenizer"
        with processes().main_process_first():
            if not folder.is_dir():
                tokenizer = train_tokenizer(prompt_corpus() + self._own_prompts())
                replace_folder(folder, lambda temporary: tokenizer.save_pretrained(temporary))
        return load_tokenizer(folder)

    def _own_prompts(self) -> list[str]:
        if self.job.index is None:
            return []
        records = read_index(self.job.index, splits=["train"]).head(CORPUS_SIZE).to_dict("records")
        return [prompt_from_row(record, random.Random(number)) for number, record in enumerate(records)]

    def forward(self, batch: dict) -> dict[str, Tensor]:
        """Cross-entropy of each attribute, summed over the findings."""
        answers = self._answers(self.trained, batch["prompt"])
        losses = {name: F.cross_entropy(answers[name].float(), batch[name]) for name in ANSWERS}
        said = batch["findings"].float()
        per_finding = F.binary_cross_entropy_with_logits(answers["findings"].float(), said, reduction="none")
        return {**losses, "findings": per_finding.sum(1).mean()}

    @staticmethod
    def _answers(trained: nn.ModuleDict, prompts: list[str]) -> dict[str, Tensor]:
        summary = masked_mean(*trained["text"](prompts))
        return {name: reader(summary) for name, reader in trained["readers"].items()}

    def batches(self, rank: int, world: int, start: int) -> Iterator[dict]:
        """Endless batches of fresh prompts, from any batch onwards."""
        train = self.job.train
        while True:
            yield attributed_batch(train.batch_size, random.Random(seeds.mix(train.seed, "prompts", rank, start)))
            start += 1

    @torch.no_grad()
    def validate(self, trained: nn.ModuleDict, folder: Path) -> dict[str, float]:
        """Share of new prompts whose attribute is read right; a finding list counts as right when all of it is."""
        batch = attributed_batch(HELD_OUT, random.Random("held out"))
        answers = {name: logits.cpu() for name, logits in self._answers(trained, batch["prompt"]).items()}
        right = {name: (answers[name].argmax(1) == batch[name]) for name in ANSWERS}
        right["findings"] = ((answers["findings"] > 0) == (batch["findings"] > 0)).all(1)
        return {f"{name}_right": hits.float().mean().item() for name, hits in right.items()}

    def export(self, trained: nn.ModuleDict, folder: Path) -> None:
        """A Hugging Face folder for `text.model`: encoder and tokenizer, without the readers."""
        trained["text"].model.save_pretrained(folder)
        trained["text"].tokenizer.save_pretrained(folder)


def attributed_batch(size: int, rng: random.Random) -> dict:
    """Prompts and what they say. Shapes: ANSWERS' names [B], findings [B, F]."""
    prompts, said = zip(*(attributed_prompt(rng) for _ in range(size)), strict=True)
    return {"prompt": list(prompts)} | {name: torch.tensor([one[name] for one in said]) for name in said[0]}


def main(arguments: list[str]) -> None:
    """Train what a config describes, or go on with it."""
    job = load_job(TextEncoderJob, "text.py", arguments)
    torch.manual_seed(job.train.seed)
    Loop(TextLearner(job), job, job.train, job.run).train()


if __name__ == "__main__":
    with exit_on_user_error():
        main(sys.argv[1:])

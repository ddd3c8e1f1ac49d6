"""Train an image-text model: accelerate launch train/contrastive.py configs/clip_128.yaml [key=value ...]"""

from __future__ import annotations

import sys

import torch
from transformers import PreTrainedTokenizerBase

from gen.config import load_job
from gen.data.compose import prompt_corpus
from gen.data.dataset import load_rows
from gen.data.labelled import LabelledImages, load_labelled
from gen.data.prompts import prompt_from_row
from gen.engine.contrastive import ClipConfig, ContrastiveJob, ContrastiveLearner
from gen.engine.loop import Loop
from gen.errors import exit_on_user_error
from gen.judges.reader import Reader
from gen.models.clip import RadiographCLIP, named_configs, start_tower, text_config
from gen.models.text import train_tokenizer


def model_of(config: ClipConfig, tokenizer: PreTrainedTokenizerBase) -> RadiographCLIP:
    """A new model as a config asks for it."""
    if config.model is not None:
        embed, vision, text = named_configs(config.model)
        # our own words, and an answer at the first token: open_clip's own tokenizer knows other numbers
        return RadiographCLIP(
            embed, text | {"vocab_size": len(tokenizer), "no_causal_mask": True, "pool_type": "first"}, vision
        )
    classifier = Reader.load(config.reader).classifier
    shape = {name: value for name, value in classifier.config.items() if not name.startswith("_")}
    text = text_config(len(tokenizer), config.max_tokens, config.width, config.layers, config.heads)
    model = RadiographCLIP(config.embed, text, reader=shape)
    start_tower(model, classifier)
    return model


def learner_of(job: ContrastiveJob) -> ContrastiveLearner:
    """The images in memory, their rows, the words of the prompts and a new model."""

    def load(split: str) -> tuple[LabelledImages, list[dict]]:
        rows = load_rows(job.data, split)
        return load_labelled(rows, (), (), job.data.resolution), rows.to_dict("records")

    train = load("train")
    said = [prompt_from_row(record) for record in train[1]]
    tokenizer = train_tokenizer(prompt_corpus() + said, job.clip.words)
    torch.manual_seed(job.train.seed)
    return ContrastiveLearner(model_of(job.clip, tokenizer), tokenizer, train, load("val"), job)


def main(arguments: list[str]) -> None:
    """Train what a config describes, or go on with it."""
    job = load_job(ContrastiveJob, "contrastive.py", arguments)
    Loop(learner_of(job), job, job.train, job.run).train()


if __name__ == "__main__":
    with exit_on_user_error():
        main(sys.argv[1:])

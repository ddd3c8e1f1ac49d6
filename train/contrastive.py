"""Contrast images with texts or events: accelerate launch train/contrastive.py configs/clip_128.yaml [key=value ...]"""

from __future__ import annotations

import sys

import torch

from gen.config import load_job
from gen.data.compose import prompt_corpus
from gen.data.dataset import load_rows
from gen.data.events import vocabulary
from gen.data.prompts import prompt_from_row
from gen.engine.contrastive import ClipConfig, ClipEventsConfig, ContrastiveJob, ContrastiveLearner
from gen.engine.loop import Loop
from gen.engine.sides import EventSide, Pairs, PromptSide, Side, event_pairs, prompt_pairs
from gen.errors import exit_on_user_error
from gen.judges.reader import Reader
from gen.models.clip import RadiographCLIP, named_configs, start_tower, text_config
from gen.models.text import train_tokenizer


def model_of(config: ClipConfig, said: dict[str, dict]) -> RadiographCLIP:
    """A new model as a config asks for it; `said` is the config of its other tower, as `text` or `events`."""
    if config.model is not None:
        embed, vision, _ = named_configs(config.model)
        return RadiographCLIP(embed, vision=vision, **said)
    classifier = Reader.load(config.reader).classifier
    shape = {name: value for name, value in classifier.config.items() if not name.startswith("_")}
    model = RadiographCLIP(config.embed, reader=shape, **said)
    start_tower(model, classifier)
    return model


def text_shape(config: ClipConfig, words: int) -> dict:
    """The text tower's config for a vocabulary of so many words."""
    if config.model is None:
        return text_config(words, config.max_tokens, config.width, config.layers, config.heads)
    # our own words, and an answer at the first token: open_clip's own tokenizer knows other numbers
    return named_configs(config.model)[2] | {"vocab_size": words, "no_causal_mask": True, "pool_type": "first"}


def events_shape(config: ClipEventsConfig, cells: list[str]) -> dict:
    """The encoder's config, with the vocabulary of the training rows."""
    known = vocabulary(cells, config.codes) if config.vocabulary is None else config.vocabulary
    sizes = config.model_dump(include={"token_width", "width", "layers", "heads", "registers"})
    return {"vocabulary": known, "latent_channels": 1, **sizes}


def with_prompts(job: ContrastiveJob, train: Pairs) -> tuple[RadiographCLIP, Side]:
    """A new model of images and prompts, in the words of the training rows."""
    said = [prompt_from_row(record) for record in train.records]
    tokenizer = train_tokenizer(prompt_corpus() + said, job.clip.words)
    torch.manual_seed(job.train.seed)
    model = model_of(job.clip, {"text": text_shape(job.clip, len(tokenizer))})
    return model, PromptSide(tokenizer, model.clip.context_length)


def with_events(job: ContrastiveJob, train: Pairs) -> tuple[RadiographCLIP, Side]:
    """A new model of images and sets of events."""
    cells = [record["events"] for record in train.records]
    torch.manual_seed(job.train.seed)
    return model_of(job.clip, {"events": events_shape(job.clip.events, cells)}), EventSide()


def learner_of(job: ContrastiveJob) -> ContrastiveLearner:
    """The pairs in memory and a new model of both their halves."""

    def load(split: str) -> Pairs:
        rows = load_rows(job.data, split)
        prompts = job.clip.events is None
        return prompt_pairs(rows, job.data) if prompts else event_pairs(rows, job.data, job.clip.image)

    train = load("train")
    model, side = (with_prompts if job.clip.events is None else with_events)(job, train)
    return ContrastiveLearner(model, side, train, load("val"), job)


def main(arguments: list[str]) -> None:
    """Train what a config describes, or go on with it."""
    job = load_job(ContrastiveJob, "contrastive.py", arguments)
    Loop(learner_of(job), job, job.train, job.run).train()


if __name__ == "__main__":
    with exit_on_user_error():
        main(sys.argv[1:])

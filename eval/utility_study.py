"""The utility study run by run: rows and tests chosen, every setting trained with every seed, scores gathered."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd
from diffusers import ModelMixin

from gen.data.moments import fingerprint
from gen.engine.loop import Loop

from .context import Context
from .corruptions import CORRUPTIONS, STRENGTHS
from .utility_material import IN_DOMAIN, HeldOut, material
from .utility_plan import SETTINGS, NotEnough, TrainingSet, UtilityConfig, check_settings, training_set
from .utility_runs import RunJob, Shelf, data_key, keep, kept, train_config
from .utility_targets import Target, target_of


@dataclass
class Study:
    """Everything that a study has found. `scores[setting][seed][test]` [N, len(test.names), ...]."""

    config: UtilityConfig
    names: tuple[str, ...]
    tests: list[HeldOut]
    scores: dict[str, list[dict[str, np.ndarray]]] = field(default_factory=dict)
    sizes: dict[str, tuple[int, int]] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    def of(self, setting: str, test: HeldOut, damage: str = "") -> list[np.ndarray]:
        """Each seed's scores on a test set, or on a damaged copy of it. Shapes: [N, len(test.names), ...]."""
        return [run[test.name + damage] for run in self.scores[setting]]

    @property
    def target(self) -> Target:
        """What the networks learn, and how that is judged."""
        return target_of(self.config)


def run_study(context: Context, config: UtilityConfig, training: bool = True) -> Study:
    """Train and test what is not there yet; an interrupted study goes on where it was.

    Without `training` only finished runs are taken, as many seeds as all settings that have any have.

    Errors: UserError for an unknown setting or source, and where no label is frequent enough to be judged.
    """
    check_settings(config)
    target = target_of(config)
    found = material(context, config, target)
    real, synthetic, tests = found.real, found.synthetic, found.tests
    shelf = _shelf(context, [real.rows, synthetic.rows, *(test.rows for test in tests)], config.resolution)
    study = Study(config, found.names, [test for test in tests if test.names], left_out=dict(found.left_out))
    few = f"too few of its images show any {target.name}, or lack it: `least` is {config.least}"
    study.left_out.update({test.name: few for test in tests if not test.names})
    for seed in range(config.seeds):
        for setting in config.settings:
            try:
                stages = [training_set(stage, real, synthetic, seed) for stage in SETTINGS[setting]]
                scores = _Run(study, setting, seed, stages, shelf, context).scores(training)
            except NotEnough as reason:
                study.left_out.setdefault(setting, str(reason))
                continue
            study.sizes[setting] = _size(stages, set(synthetic.images))
            study.scores.setdefault(setting, []).append(scores)
    return study if training else _even(study)


def _even(study: Study) -> Study:
    """Settings with any finished seed, cut to the seeds that all of them have: comparisons stay paired."""
    seeds = min(map(len, study.scores.values()), default=study.config.seeds)
    left_out = {setting: reason for setting, reason in study.left_out.items() if setting not in study.scores}
    scores = {setting: runs[:seeds] for setting, runs in study.scores.items()}
    return replace(study, config=study.config.model_copy(update={"seeds": seeds}), scores=scores, left_out=left_out)


@dataclass(frozen=True)
class _Run:
    """One setting with one seed."""

    study: Study
    setting: str
    seed: int
    stages: list[TrainingSet]
    shelf: Shelf
    context: Context

    def scores(self, training: bool) -> dict[str, np.ndarray]:
        """From disk if it was finished, else trained stage by stage. Errors: NotEnough where it must not be."""
        folder = self.context.out / "utility" / _slug(self.setting) / f"seed-{self.seed}"
        key = self.key()
        if (found := kept(folder, key)) is not None:
            return found
        if not training:
            raise NotEnough(f"seed {self.seed} is not finished; cxr-eval utility goes on with it")
        self.context.say(f"utility: {self.setting}, seed {self.seed}")
        network, target = self._trained(folder, key), self.study.target
        scores = {
            name: target.scores(network, pixels, test.truth, test.columns)
            for name, test, pixels in _tested(self.study, self.shelf, self.context)
        }
        images = [len(part.images) for part in self.stages]
        keep(folder, key, scores, {"setting": self.setting, "seed": self.seed, "images": images})
        return scores

    def key(self) -> str:
        """Changes with anything that changes the predictions."""
        study = self.study
        alike = study.config.model_dump(mode="json", exclude={"settings", "seeds", "splits", "external"})
        data = [data_key(self.shelf.of(part.images), part.truth) for part in self.stages]
        tests = [(t.name, data_key(self.shelf.of(t.rows["image"].to_numpy()), t.truth)) for t in study.tests]
        return fingerprint(alike, study.names, self.setting, self.seed, data, tests, self.context.seed)

    def _trained(self, folder: Path, key: str) -> ModelMixin:
        config, names, target = self.study.config, self.study.names, self.study.target
        network = target.new_network(config, names, self.seed)
        for number, (stage, part) in enumerate(zip(SETTINGS[self.setting], self.stages, strict=True)):
            # a run goes on whatever else is asked for beside it
            alone = config.model_copy(update={"settings": (self.setting,), "seeds": 1, "splits": (), "external": None})
            job = RunJob(utility=alone, labels=names, train=train_config(config, stage.share, self.seed))
            run = folder / f"stage{number}-{fingerprint(key)[:6]}"  # a run of other data is another run
            learner = target.learner(network, self.shelf.of(part.images), part.truth, job.train)
            network = network.from_pretrained(Loop(learner, job, job.train, run).train())
        return network


def _tested(study: Study, shelf: Shelf, context: Context) -> Iterator[tuple[str, HeldOut, np.ndarray]]:
    """Every test set with its pixels, and the first with damaged ones."""
    for test in study.tests:
        yield test.name, test, shelf.of(test.rows["image"].to_numpy())
    if study.config.corrupted:
        pixels = shelf.of(study.tests[0].rows["image"].to_numpy())
        for damage, damaged in CORRUPTIONS.items():
            for strength in STRENGTHS:
                generator = context.generator("corruption", damage, strength)
                yield IN_DOMAIN + damage_name(damage, strength), study.tests[0], damaged(pixels, strength, generator)


def damage_name(damage: str, strength: int) -> str:
    """How a damaged test set is called, after the name of the whole one."""
    return f", {damage} {strength}"


def _shelf(context: Context, tables: list[pd.DataFrame], side: int) -> Shelf:
    columns = [table.reindex(columns=["image", "inverted"]) for table in tables]
    rows = pd.concat(columns, ignore_index=True).drop_duplicates("image")
    rows["inverted"] = rows["inverted"].eq(True)
    images = rows["image"].tolist()
    return Shelf(context.pixels(rows, side), {image: place for place, image in enumerate(images)})


def _size(stages: list[TrainingSet], synthetic: set[str]) -> tuple[int, int]:
    """Real and synthetic images that all stages see."""
    images = {image for part in stages for image in part.images}
    return len(images - synthetic), len(images & synthetic)


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")

"""The utility study run by run: rows and tests chosen, every setting trained with every seed, predictions gathered."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd

from gen.data.index import read_index
from gen.data.moments import fingerprint
from gen.errors import UserError
from gen.models.classifier import RadiographClassifier

from .context import Context
from .corruptions import CORRUPTIONS, STRENGTHS
from .readings import FRONTAL, judged_labels, truth_matrix
from .section import NotMeasurable
from .utility_plan import SETTINGS, NotEnough, TrainingSet, UtilityConfig, check_settings, training_set
from .utility_runs import RunJob, Shelf, data_key, keep, kept, new_network, predict, train, train_config

IN_DOMAIN = "in-domain"


@dataclass(frozen=True)
class HeldOut:
    """Held-out images. `columns` are those of `names` in a prediction. Shapes: truth [N, len(names)] bool."""

    name: str
    rows: pd.DataFrame
    names: list[str]
    columns: list[int]
    truth: np.ndarray

    @property
    def patients(self) -> np.ndarray:
        return self.rows["patient_id"].to_numpy()


@dataclass
class Study:
    """Everything that a study has found. `scores[setting][seed][test]` [N, K] probabilities of `names`."""

    config: UtilityConfig
    names: tuple[str, ...]
    tests: list[HeldOut]
    scores: dict[str, list[dict[str, np.ndarray]]] = field(default_factory=dict)
    sizes: dict[str, tuple[int, int]] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    def of(self, setting: str, test: HeldOut, damage: str = "") -> list[np.ndarray]:
        """Each seed's probabilities on a test set, or on a damaged copy of it. Shapes: [N, len(test.names)]."""
        return [run[test.name + damage][:, test.columns] for run in self.scores[setting]]


def run_study(context: Context, config: UtilityConfig, training: bool = True) -> Study:
    """Train and test what is not there yet; an interrupted study goes on where it was.

    Without `training` only finished runs are taken, as many seeds as all settings that have any have.

    Errors: UserError for an unknown setting or source, and where no label is frequent enough to be judged.
    """
    check_settings(config)
    real, tests, names = material(context, config)
    synthetic = context.synthetic[context.synthetic["view"].isin([*FRONTAL, "UNKNOWN"])]
    shelf = _shelf(context, [real, synthetic, *(test.rows for test in tests)], config.resolution)
    study = Study(config, names, [test for test in tests if test.names])
    few = f"no label is in {config.least} of its images and lacks in as many"
    study.left_out.update({test.name: few for test in tests if not test.names})
    for seed in range(config.seeds):
        for setting in config.settings:
            try:
                stages = [training_set(stage, real, synthetic, list(names), seed) for stage in SETTINGS[setting]]
                scores = _Run(study, setting, seed, stages, shelf, context).scores(training)
            except NotEnough as reason:
                study.left_out.setdefault(setting, str(reason))
                continue
            study.sizes[setting] = _size(stages, set(synthetic["image"]))
            study.scores.setdefault(setting, []).append(scores)
    return study if training else _even(study)


def _even(study: Study) -> Study:
    """Settings with any finished seed, cut to the seeds that all of them have: comparisons stay paired."""
    seeds = min(map(len, study.scores.values()), default=study.config.seeds)
    left_out = {setting: reason for setting, reason in study.left_out.items() if setting not in study.scores}
    scores = {setting: runs[:seeds] for setting, runs in study.scores.items()}
    return replace(study, config=study.config.model_copy(update={"seeds": seeds}), scores=scores, left_out=left_out)


def material(context: Context, config: UtilityConfig) -> tuple[pd.DataFrame, list[HeldOut], tuple[str, ...]]:
    """Real training rows, test sets, and the labels that can be judged in-domain."""
    known = context.real[context.real["view"].isin(FRONTAL) & (context.real["findings"] != "")]
    sources = known["source"] if "source" in known else pd.Series("", index=known.index)
    source = config.source or str(sources[known["split"] == "train"].mode()[0])
    real = known[(sources == source) & (known["split"] == "train")].reset_index(drop=True)
    held_out = known["split"].isin(config.splits)
    inside = known[(sources == source) & held_out].reset_index(drop=True)
    if real.empty or inside.empty:
        raise UserError(f"utility: source {source!r} has {len(real)} training and {len(inside)} held-out rows")
    vocabulary = list(dict.fromkeys(name for text in real["findings"] for name in text.split(";")))
    names = tuple(judged_labels(truth_matrix(inside["findings"], vocabulary), vocabulary, config.least))
    if not names:
        raise NotMeasurable(f"utility: no finding has {config.least} held-out images with and without; lower `least`")
    outside = {f"external: {name}": known[(sources == name) & held_out] for name in sorted(set(sources) - {source})}
    if config.external is not None:
        rows = read_index(config.external)
        outside[f"external: {config.external.stem}"] = rows[rows["view"].isin(FRONTAL) & (rows["findings"] != "")]
    tests = [_test(IN_DOMAIN, inside, names, config.least)]
    tests += [_test(name, rows.reset_index(drop=True), names, config.least) for name, rows in outside.items()]
    return real, tests, names


def _test(name: str, rows: pd.DataFrame, names: tuple[str, ...], least: int) -> HeldOut:
    truth = truth_matrix(rows["findings"], names)
    judged = judged_labels(truth, names, least)
    columns = [names.index(label) for label in judged]
    return HeldOut(name, rows, judged, columns, truth[:, columns])


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
        network = self._trained(folder, key)
        scores = {name: predict(network, pixels) for name, pixels in _tested(self.study, self.shelf, self.context)}
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

    def _trained(self, folder: Path, key: str) -> RadiographClassifier:
        config, names = self.study.config, self.study.names
        network = new_network(config, names, self.seed)
        for number, (stage, part) in enumerate(zip(SETTINGS[self.setting], self.stages, strict=True)):
            # a run goes on whatever else is asked for beside it
            alone = config.model_copy(update={"settings": (self.setting,), "seeds": 1, "splits": (), "external": None})
            job = RunJob(utility=alone, labels=names, train=train_config(config, stage.share, self.seed))
            run = folder / f"stage{number}-{fingerprint(key)[:6]}"  # a run of other data is another run
            network = network.from_pretrained(train(network, self.shelf.of(part.images), part.truth, job, run))
        return network


def _tested(study: Study, shelf: Shelf, context: Context) -> Iterator[tuple[str, np.ndarray]]:
    """Every test set's pixels, and the damaged ones of the first."""
    for test in study.tests:
        yield test.name, shelf.of(test.rows["image"].to_numpy())
    if study.config.corrupted:
        pixels = shelf.of(study.tests[0].rows["image"].to_numpy())
        for damage, damaged in CORRUPTIONS.items():
            for strength in STRENGTHS:
                generator = context.generator("corruption", damage, strength)
                yield IN_DOMAIN + damage_name(damage, strength), damaged(pixels, strength, generator)


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

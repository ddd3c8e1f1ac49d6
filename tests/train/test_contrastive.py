"""Images and events, from the contrast to the temporal model that starts from it."""

import json
import math
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file

from gen.config import load_config
from gen.data.dataset import load_rows
from gen.data.index import write_index
from gen.engine.contrastive import ContrastiveJob, equal
from gen.engine.loop import Loop
from gen.engine.sides import event_pairs
from gen.errors import UserError, exit_on_user_error
from gen.judges.alignment import ImageText, retrieval
from gen.models.classifier import RadiographClassifier
from gen.schema import DataConfig, LatentJob
from gen.train import contrastive, ldm

SIDE, CODES = 64, ("drug a", "drug b", "drug c", "drug d", "drug e", "drug f", "drug g", "drug h")
TRAIN = {"steps": 60, "batch_size": 16, "learning_rate": 3e-3, "lr_schedule": "constant", "warmup_steps": 5}
TRAIN |= {"checkpoint_every": 20, "ema_decay": 0.8}
SHAPE = {"token_width": 16, "width": 16, "layers": 1, "heads": 2, "registers": 2}


def picture(code, rng):
    """A patient's grey; what he was given stands as a bright band, every drug in its own place."""
    pixels = rng.normal(90, 6, (SIDE, SIDE)) + rng.normal(0, 10)
    if code is not None:
        pixels[SIDE // 8 * code : SIDE // 8 * (code + 1)] += 120
    return Image.fromarray(pixels.clip(1, 255).astype(np.uint8))


@pytest.fixture(scope="module")
def ward(tmp_path_factory):
    """Patients before and after a drug, eight held-out ones with a drug each: index, events, reader."""
    folder, rng = tmp_path_factory.mktemp("ward"), np.random.default_rng(0)
    rows, events = [], []
    for number in range(58):
        code = None if number > 55 else number % 8  # the last two were given nothing
        for day, shown in ((0.0, None), (1.0, code)):
            file = folder / f"{number}_{day:g}.png"
            picture(shown, rng).save(file)
            rows.append((str(file), f"p{number}", f"s{number}_{day:g}", day, "val" if 48 <= number < 57 else "train"))
        if code is not None:
            events.append((f"p{number}", 12.0, CODES[code], 5.0, "mg"))
    table = pd.DataFrame(rows, columns=["image", "patient_id", "study_id", "offset_days", "split"])
    write_index(table.assign(source="drawn", may_ship=True, view="PA", findings="No Finding"), folder / "index.csv")
    columns = ["patient_id", "hour", "code", "value", "unit"]
    pd.DataFrame(events, columns=columns).to_csv(folder / "events.csv", index=False)
    torch.manual_seed(0)
    reader = {"labels": ("Mass",), "widths": (8, 16), "blocks": (1, 1), "features": 16, "resolution": 32}
    RadiographClassifier(**reader).save_pretrained(folder / "reader")
    return folder


def recipe(ward, **changes):
    data = {"index": str(ward / "index.csv"), "events": str(ward / "events.csv"), "resolution": 32}
    clip = {"reader": str(ward / "reader"), "embed": 16, "events": SHAPE}
    path = ward / "clip.yaml"
    values = {"run": str(ward / "run"), "data": data, "clip": clip, "augmentation": 0.2, "train": TRAIN, **changes}
    path.write_text(yaml.safe_dump(values))
    return path


def main(job, *arguments):
    with exit_on_user_error():
        job.main([str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def trained(ward):
    """A finished run."""
    main(contrastive, recipe(ward))
    return ward / "run"


def test_events_are_used(trained, ward):
    figures = json.loads((trained / "export" / "run.json").read_text())["figures"]
    assert figures["images"] == 8 and figures["chance R@1"] == pytest.approx(1 / 8)
    assert figures["image to events R@1"] >= 0.75 and figures["events to image R@1"] >= 0.75
    learner = contrastive.learner_of(load_config(ContrastiveJob, ward / "clip.yaml"))
    clip = learner.trained["clip"]
    clip.load_state_dict(load_file(trained / "export" / "diffusion_pytorch_model.safetensors"))
    batch = learner.held_out.batch(range(8))
    said = [learner.side.said(record) for record in learner.held_out.records]
    with torch.no_grad():
        seen, told = clip.eval().images(batch["image"]), clip.texts(learner.side.batch(said[1:] + said[:1]))
    other = retrieval(seen, told, same=equal(said), name="events")  # everybody has his neighbour's events
    assert other["image to events R@1"] <= 0.25


def temporal(world, ward, *changes):
    """The job of a temporal model on the ward."""
    base = yaml.safe_load((world / "text.yaml").read_text())
    data = {"index": str(ward / "index.csv"), "events": str(ward / "events.csv"), "resolution": SIDE}
    task = {"name": "temporal", **{name: value for name, value in SHAPE.items() if name != "token_width"}}
    path = ward / "temporal.yaml"
    base |= {"data": data, "task": task, "validation_prompts": [], "run": str(ward / "temporal")}
    path.write_text(yaml.safe_dump(base))
    return load_config(LatentJob, path, changes)


@pytest.mark.parametrize("where", ["", "/export", "/export/events"])
def test_the_weights_land_bit_for_bit_and_nothing_else_changes(where, trained, world, ward):
    jobs = [temporal(world, ward, *more) for more in ((), (f"task.events_from={trained}{where}",))]
    plain, started = (made(job) for job in jobs)
    given = load_file(trained / "export" / "events" / "diffusion_pytorch_model.safetensors")
    encoder = started.trained["task"].conditioner
    assert len(given) > 20 and given.keys() == encoder.state_dict().keys()
    assert all(torch.equal(given[name], weight) for name, weight in encoder.state_dict().items())
    assert not torch.equal(plain.trained["task"].conditioner.out.weight, encoder.out.weight)
    assert list(encoder.config.vocabulary) == list(CODES) and encoder.training
    first, second = (dict(one.trained["denoiser"].state_dict()) for one in (plain, started))
    assert all(torch.equal(first[name], second[name]) for name in first)


def made(job):
    torch.manual_seed(job.train.seed)
    return ldm.LatentLearner(job)


def test_priors_as_tokens_are_the_temporal_models_own(trained, world, ward):
    learner = made(temporal(world, ward, f"task.events_from={trained}", "task.prior=both"))
    given = load_file(trained / "export" / "events" / "diffusion_pytorch_model.safetensors")
    weights = learner.trained["task"].conditioner.state_dict()
    assert set(weights) - set(given) == {"seen.weight", "seen.bias", "place"}
    assert all(torch.equal(given[name], weights[name]) for name in given)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("task.width=32", "has width 16, task.width is 32; set task.width=16 or leave task.events_from out"),
        ("task.heads=4", "has heads 2, task.heads is 4"),
        ("task.events=text", "has described 'codes', task.events is 'text'"),
        ("text.width=32", "tokens of width 16, the text encoder here of 32; train it with clip.events.token_width=32"),
        ("task.vocabulary={drug a: {unit: mg, centre: 5, scale: 1}}", "task.vocabulary: not that of task.events_from"),
        ("data.events=new.csv", "does not know event 'x ray' (1 of 2 codes of the training rows are not in its"),
        ("data.events=unit.csv", "knows event 'drug a' in 'mg', the training rows have it in 'g'"),
        ("task.events_from=nowhere", "task.events_from: nowhere holds no encoder of events"),
    ],
)
def test_misfits_end_in_one_line(change, words, trained, world, ward, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    head = "patient_id,hour,code,value,unit\n"
    (tmp_path / "new.csv").write_text(head + "p0,2,drug a,5,mg\np1,2,x ray,,\n")
    (tmp_path / "unit.csv").write_text(head + "p0,2,drug a,5,g\n")
    temporal(world, ward)
    with pytest.raises(SystemExit) as end:
        main(ldm, ward / "temporal.yaml", f"run={tmp_path / 'run'}", f"task.events_from={trained}", change)
    said = capsys.readouterr().err.strip().splitlines()
    assert end.value.code == 2 and words in said[-1] and "Traceback" not in "".join(said)
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_a_start_is_not_given_to_a_trained_conditioner(trained, world, ward, tmp_path, capsys):
    temporal(world, ward)
    short = ("train.steps=1", "train.checkpoint_every=1")
    main(ldm, ward / "temporal.yaml", f"run={tmp_path / 'first'}", *short)
    more = (f"initialise_from={tmp_path / 'first' / 'export'}", f"task.events_from={trained}")
    with pytest.raises(SystemExit) as end:
        main(ldm, ward / "temporal.yaml", f"run={tmp_path / 'second'}", *short, *more)
    assert end.value.code == 2 and "task.events_from: initialise_from brings its own" in capsys.readouterr().err


def test_an_interrupted_run_ends_as_an_unbroken_one(trained, ward, monkeypatch):
    again, step = ward / "again", Loop.step

    def broken(self, batches):
        if self.progress["step"] == 33:
            raise KeyboardInterrupt
        return step(self, batches)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Loop, "step", broken)
        main(contrastive, recipe(ward), f"run={again}")
    main(contrastive, recipe(ward), f"run={again}")
    first, second = (load_file(run / "export" / "diffusion_pytorch_model.safetensors") for run in (trained, again))
    assert len(first) > 20 and [name for name in first if not torch.equal(first[name], second[name])] == []
    shutil.rmtree(again)


def test_what_is_seen_of_a_pair(ward):
    data = DataConfig(index=ward / "index.csv", events=ward / "events.csv", resolution=32)
    rows = load_rows(data, "val")
    target, prior, change = (event_pairs(rows, data, image) for image in ("target", "prior", "change"))
    assert len(target) == len(prior) == len(change) == 8  # the ninth was given nothing
    after, before, both = (pairs.batch(range(8)) for pairs in (target, prior, change))
    assert after["image"].amax() > 0.4 > before["image"].amax() and "prior" not in after
    assert torch.equal(both["image"], after["image"]) and torch.equal(both["prior"], before["image"])
    assert [key.split("/")[-1] for key in prior.keys[:2]] != [key.split("/")[-1] for key in target.keys[:2]]
    assert torch.equal(change.same_image(), torch.eye(8, dtype=torch.bool))
    empty = ward / "none.csv"
    empty.write_text("patient_id,hour,code\nnobody,1,drug a\n")
    with pytest.raises(UserError, match="no pair of split val has events; give data.events=TABLE"):
        event_pairs(rows, data.model_copy(update={"events": empty}), "target")


def test_a_change_is_learned_too(ward):
    job = load_config(ContrastiveJob, recipe(ward), ["clip.image=change", f"run={ward / 'change'}"])
    clip = contrastive.learner_of(job).trained["clip"]
    image, prior = torch.rand(2, 3, 1, 32, 32)
    apart = clip._seen(image) - clip._seen(prior)
    torch.testing.assert_close(clip.images(image, prior), apart / apart.norm(dim=1, keepdim=True))
    main(contrastive, recipe(ward), "clip.image=change", f"run={ward / 'change'}", "train.steps=120")
    figures = json.loads((ward / "change" / "export" / "run.json").read_text())["figures"]
    assert figures["image to events R@1"] >= 0.5 > 3 * figures["chance R@1"]


def test_a_prior_is_moved_as_its_image_is(ward):
    job = load_config(ContrastiveJob, recipe(ward), ["clip.image=change", "augmentation=2"])
    learner = contrastive.learner_of(job)
    said = learner.side.batch([learner.side.said(record) for record in learner.pairs.records[:6]])
    batch = learner.pairs.batch(range(6)) | {"said": said}
    with torch.no_grad():
        apart, alike = (float(learner(one)["contrast"]) for one in (batch, {**batch, "prior": batch["image"]}))
    assert alike == pytest.approx(math.log(6), abs=1e-5) != apart  # nothing changed in any of them


def test_a_reader_that_stays_looks_once(ward):
    job = load_config(ContrastiveJob, recipe(ward), ["clip.image=change", "augmentation=0", "clip.locked=true"])
    learner = contrastive.learner_of(job)
    once, again = learner.pairs.batch(range(4)), replace(learner.pairs, features=None).batch(range(4))
    assert once["image"].shape == once["prior"].shape == (4, 16) and again["image"].shape == (4, 1, 32, 32)
    clip = learner.trained["clip"].eval()
    seen = [clip.images(batch["image"], batch["prior"]) for batch in (once, again)]
    torch.testing.assert_close(*seen, rtol=0, atol=1e-4)
    assert once["key"] == again["key"]


def test_an_events_model_is_no_judge_of_prompts(trained):
    with pytest.raises(UserError, match="this CLIP reads events"):
        ImageText.load(trained / "export")


def test_prompts_know_no_prior(ward):
    with pytest.raises(UserError, match="leave change out, or give events"):
        load_config(ContrastiveJob, recipe(ward), ["clip.events=null", "clip.image=change"])

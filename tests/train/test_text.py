"""train/text.py from end to end: an encoder that tells what a prompt says, and a denoiser that starts from it."""

import json
import random

import pytest
import torch
import yaml

from gen.data.compose import ANSWERS, attributed_prompt, attributes
from gen.data.vocabulary import VOCABULARY
from gen.errors import exit_on_user_error
from gen.models.text import load_text_encoder
from gen.pipeline import CXRPipeline
from gen.train import ldm, text

SIZES = {"width": 32, "layers": 1, "heads": 2, "max_tokens": 48}
TRAIN = {"steps": 60, "batch_size": 32, "learning_rate": 1e-2, "lr_schedule": "cosine", "warmup_steps": 5}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("text")
    job = {"run": str(folder / "run"), "text": SIZES, "train": {**TRAIN, "ema_decay": 0.9}}
    (folder / "text.yaml").write_text(yaml.safe_dump(job))
    with pytest.MonkeyPatch.context() as patch, exit_on_user_error():
        patch.setenv("ACCELERATE_USE_CPU", "true")
        text.main([str(folder / "text.yaml")])
    return folder / "run"


def test_it_reads_better_than_the_best_constant_guess(trained):
    figures = json.loads((trained / "metrics.jsonl").read_text().splitlines()[-1])["validation"]
    said = text.attributed_batch(text.HELD_OUT, random.Random("held out"))
    for name in ("sex", "age_group", "decade"):
        assert figures[f"{name}_right"] > said[name].bincount().max() / text.HELD_OUT + 0.1, name


def test_a_denoiser_trains_on_it_frozen(trained, world, tmp_path):
    export = trained / "export"
    recipe = yaml.safe_load((world / "text.yaml").read_text())
    recipe["text"] = {"model": str(export), "trainable": False, "max_tokens": 48}
    recipe["denoiser"]["summary"] = True
    (tmp_path / "ldm.yaml").write_text(yaml.safe_dump(recipe))
    with exit_on_user_error():
        ldm.main([str(tmp_path / "ldm.yaml"), f"run={tmp_path / 'run'}", "train.steps=3"])
    pipeline = CXRPipeline.from_pretrained(tmp_path / "run" / "export")
    before, after = load_text_encoder(export).model.state_dict(), pipeline.text_encoder.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    one, other = pipeline(["PA chest radiograph.", "Lateral chest radiograph."], seed=[1, 1], steps=2).images
    assert list(one.getdata()) != list(other.getdata())


def test_prompts_say_what_their_answers_say():
    rng = random.Random(3)
    for _ in range(300):
        prompt, answers = attributed_prompt(rng)
        said = attributes(prompt)
        assert said["view"] == ANSWERS["view"][answers["view"]], prompt
        assert (said["sex"] or "") == ANSWERS["sex"][answers["sex"]], prompt
        decade = "" if said["age"] is None else str(int(said["age"] // 10))
        assert decade == ANSWERS["decade"][answers["decade"]], prompt
        labels = {label for label, present in zip(VOCABULARY, answers["findings"], strict=True) if present}
        assert set(filter(None, said["findings"].split(";"))) == labels, prompt


def test_a_ready_encoder_is_refused(tmp_path, capsys):
    job = {"run": str(tmp_path / "run"), "text": {"model": "some/model"}, "train": TRAIN}
    (tmp_path / "text.yaml").write_text(yaml.safe_dump(job))
    with pytest.raises(SystemExit) as end, exit_on_user_error():
        text.main([str(tmp_path / "text.yaml")])
    assert end.value.code == 2
    assert "text.model: this job trains the small encoder" in capsys.readouterr().err

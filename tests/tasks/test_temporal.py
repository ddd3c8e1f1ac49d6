"""The temporal task: pairs of an index, sets of events, nulls, calls."""

import copy
import json
import math

import numpy as np
import pandas as pd
import pytest
import torch

from gen.data.events import Event, check_events, read_cell, read_events, vocabulary, write_cell
from gen.data.follow import with_priors
from gen.errors import UserError
from gen.models.codec import LatentCodec
from gen.models.denoiser import build_denoiser
from gen.models.text import build_text_encoder, train_tokenizer
from gen.objectives.diffusion import DiffusionObjective
from gen.pipeline import CXRPipeline
from gen.schema import DataConfig, DiffusionConfig, TextConfig, UNetConfig
from gen.schema.tasks import FollowConfig, TemporalTaskConfig
from gen.tasks.temporal import TemporalTask

WORDS = ["PA chest radiograph of a man.", "diuretic 40 mg", "fluid 500 ml", "intubation"]
DOSES = [Event(30.0, "diuretic", 40.0, "mg"), Event(12.5, "fluid", 500.0, "ml"), Event(3.0, "intubation")]
OTHERS = [Event(40.0, "diuretic", 80.0, "mg"), Event(1.0, "fluid", 1500.0, "ml")]
SIDE = 32


def made(seed=0, **settings):
    torch.manual_seed(seed)
    text = build_text_encoder(TextConfig(width=16, layers=1, heads=2, max_tokens=16), train_tokenizer(WORDS))
    config = TemporalTaskConfig(width=16, heads=2, registers=2, **settings)
    config = TemporalTask.settled(config, {"events": [write_cell(DOSES), write_cell(OTHERS)]})
    return TemporalTask(text, TemporalTask.new_conditioner(config, (4, 4, 4), text.width)).eval()


def batch_of(*cells, gaps=None):
    prior = torch.randn(len(cells), 1, 4, 4, 4, generator=torch.Generator().manual_seed(1))
    return {
        "prompt": [WORDS[0]] * len(cells),
        "events": [write_cell(cell) for cell in cells],
        "gap_hours": [48.0] * len(cells) if gaps is None else gaps,
        "link_prior": prior,
        "link_prior_mask": torch.ones(len(cells), 1, dtype=torch.bool),
    }


def close(first, second):
    return torch.allclose(first, second, atol=1e-5, rtol=0)


@pytest.fixture(scope="module")
def pipe():
    torch.manual_seed(3)
    codec = LatentCodec(latent_channels=4, block_out_channels=(8, 8, 16), layers_per_block=(0, 1, 1)).eval()
    unet = UNetConfig(block_out_channels=(32, 32), layers_per_block=1, attention_levels=(False, True), head_channels=16)
    task = made(residual=0.5, drop=0)
    denoiser = build_denoiser(unet, 4, SIDE // codec.downsample_factor, task.text.width, 4)
    torch.nn.init.normal_(denoiser.backbone.conv_out.weight, std=0.03)
    objective = DiffusionObjective(DiffusionConfig(prediction="sample", schedule="scaled_linear"))
    return CXRPipeline.from_modules(codec, task, denoiser.eval(), objective.scheduler, SIDE)


PRIOR = np.random.default_rng(0).random((SIDE, SIDE)).astype(np.float32)
GIVEN = [(18.0, "diuretic", 40, "mg"), {"hour": 35.5, "code": "fluid", "value": 500, "unit": "ml"}]


@pytest.mark.parametrize("described", ["codes", "text"])
@torch.no_grad()
def test_events_are_a_set_and_padding_says_nothing(described):
    task = made(events=described)
    alone, other, turned = task(batch_of(DOSES)), task(batch_of(OTHERS)), task(batch_of(DOSES[::-1]))
    many = task(batch_of(DOSES, OTHERS * 20))
    assert close(alone.tokens, turned.tokens) and close(alone.tokens, many.tokens[:1])
    assert not torch.allclose(alone.tokens, other.tokens, atol=1e-3)
    assert alone.tokens.shape[1] == many.tokens.shape[1] == 16 + 3  # words, two registers, the gap


@torch.no_grad()
def test_value_time_and_gap_count():
    task = made()
    changes = [Event(30.0, "diuretic", 80.0, "mg"), Event(20.0, "diuretic", 40.0, "mg"), DOSES[0]]
    found = [task(batch_of([event])).tokens for event in changes]
    found.append(task(batch_of([DOSES[0]], gaps=[math.nan])).tokens)
    base = found[2]
    for number in (0, 1, 3):
        assert not torch.allclose(found[number], base, atol=1e-4)
    twice = task(batch_of([DOSES[0], DOSES[0]])).tokens
    assert not torch.allclose(twice, base, atol=1e-4)  # an average would not see the second dose


@torch.no_grad()
def test_the_two_nulls():
    task = made(prior="both")
    batch = batch_of(DOSES, OTHERS)
    kept, nothing = task(batch).null(), task({**batch, "null": "all"}).null()
    empty = task({**batch, "events": ["[]", ""]})
    assert close(kept.tokens, empty.tokens) and torch.equal(kept.spatial, batch["link_prior"][:, 0])
    assert not nothing.spatial.any()
    assert close(nothing.tokens[:1], nothing.tokens[1:]) and not close(kept.tokens[:1], kept.tokens[1:])
    assert not nothing.mask[:, -16:].any() and kept.mask[:, -16:].all()  # the prior's own tokens


def test_a_change_is_drawn_in_its_unit_and_added_to_the_prior(pipe):
    """Nothing drawn is nothing changed; what is drawn is undone; without a unit the image itself is drawn."""
    batch, z0 = batch_of(DOSES, OTHERS), torch.randn(2, 4, 4, 4)
    prior, task = batch["link_prior"][:, 0], made(residual=0.5, drop=0)
    change = task.drawn(z0, batch)
    assert close(change, 2 * (z0 - prior)) and close(task.finished(change, batch), z0)
    assert torch.equal(task.finished(torch.zeros_like(z0), batch), prior) and torch.equal(made().drawn(z0, batch), z0)
    silent = copy.deepcopy(pipe)
    torch.nn.init.zeros_(silent.unet.conv_out.weight)
    torch.nn.init.zeros_(silent.unet.conv_out.bias)
    latents = silent.encode([PRIOR])
    drawn = silent.predict(latents, GIVEN, hours=48, n=2, steps=2, progress=False).mean
    with torch.no_grad():
        expected = (silent.vae.decode(latents)[0, 0] / 2 + 0.5).clamp(0, 1).numpy()
    assert abs(drawn - expected).max() < 0.01


def test_a_change_needs_its_prior_and_folders_of_before_are_refused(pipe, tmp_path):
    with pytest.raises(ValueError, match="a change needs the prior"):
        TemporalTaskConfig(residual=0.5)
    with pytest.raises(ValueError, match="residual"):
        TemporalTaskConfig(residual=True, drop=0)
    pipe.save_pretrained(tmp_path / "old")
    settings = tmp_path / "old" / "conditioner" / "config.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"residual": True}))
    with pytest.raises(UserError, match="of an earlier version.*train it anew"):
        CXRPipeline.from_pretrained(tmp_path / "old")


def test_training_drops_events_by_themselves():
    task = made(drop_events=1.0).train()
    with torch.no_grad():
        given = task(batch_of(DOSES))
    assert close(given.tokens, task.eval()({**batch_of([])}).tokens) and not given.null().spatial.any()
    assert close(given.tokens, task({**batch_of(DOSES), "parts": "some"}).tokens)  # as a student that is distilled asks
    task.train()(batch_of(DOSES)).null().tokens.square().sum().backward()
    assert task.conditioner.no_gap.grad.any()


def test_prior_as_tokens_only():
    task = made(prior="tokens")
    assert task.spatial_channels(4) == 0 and task(batch_of(DOSES)).spatial is None


def test_vocabulary_is_robust_and_units_are_checked():
    cells = [write_cell([Event(1, "lactate", value, "mmol/l")]) for value in (1, 2, 3, 4, 500)]
    known = vocabulary([*cells, write_cell([Event(1, "bed")])], 10)
    assert known["lactate"] == {"unit": "mmol/l", "centre": 3.0, "scale": pytest.approx(2 / 1.349)}
    assert known["bed"] == {"unit": "", "centre": 0.0, "scale": 1.0}
    assert list(vocabulary(cells + cells, 1)) == ["lactate"]
    with pytest.raises(UserError, match="event lactate: units 'mg/dl' and 'mmol/l'"):
        vocabulary([*cells, write_cell([Event(1, "lactate", 9, "mg/dl")])], 10)
    with pytest.raises(UserError, match="event lactate: unit 'mg/dl'; this model knows it in 'mmol/l'"):
        check_events([Event(1, "lactate", 9, "mg/dl")], 24, known)
    check_events([Event(1, "unheard of", 9, "furlongs")], 24, known)  # shares the place of all others
    assert read_cell(write_cell(DOSES))[:2] == DOSES[:2] and math.isnan(read_cell(write_cell(DOSES))[2].value)


def series():
    rows = [("a", 0, "a0"), ("a", 1, "a1"), ("a", 3, "a3"), ("b", 0, "b0"), ("b", 0, "b0b"), ("c", 2, "c2")]
    table = pd.DataFrame(rows, columns=["patient_id", "offset_days", "study_id"])
    said = {"image": table["study_id"] + ".png", "view": "PA", "findings": "Edema", "report": "worse", "split": "train"}
    return table.assign(**said)


def test_pairs_are_all_earlier_images_with_their_events(tmp_path):
    path = tmp_path / "events.csv"
    path.write_text("patient_id,hour,code,value,unit\na,10,fluid,500,ml\na,30,fluid,900,ml\na,80,fluid,1,ml\nb,1,x,,\n")
    config = DataConfig(index=tmp_path / "i.csv", events=path, resolution=8)
    pairs = with_priors(series(), config)
    said = [(row.prior, row.image, row.gap_hours) for row in pairs.itertuples()]
    assert said == [("a0.png", "a1.png", 24), ("a0.png", "a3.png", 72), ("a1.png", "a3.png", 48)]
    assert [json.loads(cell) for cell in pairs["events"]] == [
        [[14.0, "fluid", 500.0, "ml"]],
        [[62.0, "fluid", 500.0, "ml"], [42.0, "fluid", 900.0, "ml"]],
        [[42.0, "fluid", 900.0, "ml"]],
    ]
    # what is to be predicted must not stand in the prompt
    assert set(pairs["findings"]) == set(pairs["report"]) == {""} and set(pairs["target_findings"]) == {"Edema"}
    wider = with_priors(series(), config.model_copy(update={"follow": FollowConfig(history=72, consecutive=True)}))
    assert [len(read_cell(cell)) for cell in wider["events"]] == [1, 2]
    still = with_priors(series(), config.model_copy(update={"follow": FollowConfig(still=0.5)}))
    assert len(still) == 6 and (still["prior"] == still["image"]).sum() == 3
    assert set(still.loc[still["prior"] == still["image"], "events"]) == {"[]"}


def test_training_pairs_with_events_may_come_more_often(tmp_path):
    path = tmp_path / "events.csv"
    path.write_text("patient_id,hour,code,value,unit\na,10,fluid,500,ml\n")
    config = DataConfig(index=tmp_path / "i.csv", events=path, resolution=8, follow=FollowConfig(eventful=3))
    assert list(with_priors(series(), config)["image"]) == ["a1.png"] * 3 + ["a3.png"] * 4
    assert len(with_priors(series().assign(split="test"), config)) == 3
    still = config.model_copy(update={"follow": FollowConfig(eventful=3, still=0.3)})
    assert len(with_priors(series(), still)) == 10  # three null pairs of ten


def test_events_on_the_clock_of_a_study(tmp_path):
    path = tmp_path / "events.csv"
    path.write_text(
        "patient_id,study_id,hours,kind,code,name,value,unit\n"
        "a,a1,-4,lab,50813,Lactate,2,mmol/l\na,a1,3,lab,50813,Lactate,9,mmol/l\na,a0,20,lab,50813,Lactate,2,mmol/l\n"
    )
    pairs = with_priors(series(), DataConfig(index=tmp_path / "i.csv", events=path, resolution=8))
    assert json.loads(pairs["events"][0]) == [[4.0, "lab Lactate", 2.0, "mmol/l"]]  # the same one by both studies
    with pytest.raises(UserError, match="row 1: hour 'soon' is no number"):
        path.write_text("patient_id,hour,code\na,soon,x\n")
        read_events(path)


def test_only_the_order_is_known(tmp_path):
    rows = series().rename(columns={"offset_days": "followup_number"})
    pairs = with_priors(rows, DataConfig(index=tmp_path / "i.csv", resolution=8))
    assert len(pairs) == 3 and pairs["gap_hours"].isna().all() and set(pairs["events"]) == {"[]"}


def test_a_prediction_depends_on_its_seed_only(pipe):
    settings = {"hours": 48, "steps": 3, "progress": False}
    three = pipe.predict(PRIOR, GIVEN, n=3, seed=5, **settings)
    one = pipe.predict(PRIOR, GIVEN[::-1], n=1, seed=6, **settings)
    assert np.abs(np.asarray(three.images[1], int) - np.asarray(one.images[0], int)).max() <= 1
    assert three.images[0] != three.images[1] and [record.seed for record in three.records] == [5, 6, 7]
    assert three.mean.shape == three.deviation.shape == (SIDE, SIDE) and three.deviation.max() > 0
    assert three.records[0].task == "temporal" and "48 h later" in three.records[0].given
    for null in ("events", "all"):
        pipe.predict(PRIOR, GIVEN, n=1, guidance=3.0, null=null, **settings)


def test_counterfactuals_and_rollouts(pipe):
    settings = {"steps": 2, "n": 2, "progress": False}
    same = pipe.counterfactual(PRIOR, GIVEN, list(GIVEN), 48, **settings)
    other = pipe.counterfactual(PRIOR, GIVEN, GIVEN[:1], 48, **settings)
    assert not same.difference.any() and other.difference.any()
    first, second = pipe.rollout(PRIOR, GIVEN, [24, 48], **settings)
    assert first.images == pipe.predict(PRIOR, GIVEN[:1], 24, **settings).images
    again = pipe.predict(first.images[0], [(11.5, "fluid", 500, "ml")], 24, seed=2, **{**settings, "n": 1})
    assert np.abs(np.asarray(again.images[0], int) - np.asarray(second.images[0], int)).max() <= 3  # through 8 bits


def test_saved_and_loaded(pipe, tmp_path):
    pipe.save_pretrained(tmp_path / "model")
    loaded = CXRPipeline.from_pretrained(tmp_path / "model")
    assert loaded.conditioner.config.vocabulary["fluid"]["unit"] == "ml" and not loaded.conditioner.training
    drawn = [one.predict(PRIOR, GIVEN, 48, n=1, steps=2, progress=False).images[0] for one in (pipe, loaded)]
    assert drawn[0] == drawn[1]


@pytest.mark.parametrize(
    ("events", "hours", "words"),
    [
        ([(30, "fluid", 1, "ml")], 24, "event fluid: 6 hours after the predicted image"),
        ([], -3, "hours=-3: the image to be predicted must be later"),
        ([(3, "fluid", 1, "l")], 24, "event fluid: unit 'l'; this model knows it in 'ml'"),
        ([(3, "fluid", "much", "ml")], 24, "a value that is a number"),
        ([{"code": "fluid"}], 24, "needs an hour"),
        ([(1, "fluid", 1, "ml")] * 1025, 24, "events: 1025 of them; a model reads 1024"),
    ],
)
def test_misfits_have_one_clear_line(pipe, events, hours, words):
    with pytest.raises(UserError, match=words) as error:
        pipe.predict(PRIOR, events, hours, n=1, steps=1, progress=False)
    assert "\n" not in str(error.value)


def test_a_text_model_predicts_nothing(tiny_pipeline):
    with pytest.raises(UserError, match="is of task text; load a model of task temporal"):
        tiny_pipeline.predict(PRIOR, [], 24)

"""The image-text judge: learns that bright is a mass, goes through a folder, counts retrieval right."""

import numpy as np
import pytest
import torch

from gen.data.labelled import LabelledImages
from gen.engine.contrastive import ClipConfig, ContrastiveJob, ContrastiveLearner, prompt_figures
from gen.engine.loop import Loop
from gen.engine.sides import Pairs, PromptSide
from gen.errors import UserError
from gen.judges.alignment import ImageText, retrieval
from gen.models.classifier import RadiographClassifier
from gen.models.clip import RadiographCLIP, named_configs, text_config
from gen.models.text import train_tokenizer
from gen.schema import DataConfig, TrainConfig

FINDINGS = ("Mass", "Pneumothorax")


def images_and_rows(count, seed=0):
    """A bright upper half is a mass, a bright lower half a pneumothorax."""
    rng = np.random.default_rng(seed)
    kinds = rng.integers(2, size=count)
    pixels = torch.from_numpy(rng.integers(0, 60, (count, 1, 32, 32), dtype=np.uint8))
    for image, kind in zip(pixels, kinds.tolist(), strict=True):
        image[0, 16 * kind : 16 * kind + 16] += 150
    nothing, names = torch.full((count,), torch.nan), [str(number) for number in range(count)]
    views = torch.full((count,), -1)
    images = LabelledImages(pixels, torch.empty(count, 0), views, nothing, nothing, nothing, names, names)
    return images, [{"view": "PA", "findings": FINDINGS[kind]} for kind in kinds]


def job(folder, **clip):
    train = TrainConfig(steps=40, batch_size=16, learning_rate=3e-3, lr_schedule="constant", ema_decay=0.8)
    data = DataConfig(index="none", resolution=32)
    return ContrastiveJob(run=folder, data=data, clip=ClipConfig(**clip), augmentation=0.2, train=train)


def learner_of(model, words, train, held_out, one):
    pairs = (Pairs(images, rows, list(range(len(rows)))) for images, rows in (train, held_out))
    return ContrastiveLearner(model, PromptSide(words, model.clip.context_length), *pairs, one)


def reader_shape():
    return {"labels": ("Mass",), "widths": (8, 16), "blocks": (1, 1), "features": 16, "resolution": 32}


@pytest.fixture
def words():
    return train_tokenizer(["PA chest radiograph with a lung mass.", "frontal chest x-ray showing a pneumothorax"], 200)


def test_learns_and_loads_from_its_folder(tmp_path, words):
    torch.manual_seed(0)
    model = RadiographCLIP(16, text_config(len(words), 24, 16, 1, 2), reader=reader_shape())
    one = job(tmp_path / "run", reader="reader")
    learner = learner_of(model, words, images_and_rows(48), images_and_rows(24, seed=1), one)
    judge = ImageText.load(Loop(learner, one, one.train, one.run, cpu=True).train())
    images, rows = images_and_rows(24, seed=1)
    figures = prompt_figures(judge, images, rows)
    assert figures["own_wins"] > 0.9 and figures["own"] > figures["other"]
    assert figures["image to text R@1"] > 0.9
    pixels = images.images.float() / 127.5 - 1
    prompts = [f"PA chest radiograph with {row['findings'].lower()}" for row in rows]
    assert judge.score(pixels, prompts).shape == (24,)
    with pytest.raises(ValueError, match="one prompt an image"):
        judge.score(pixels, prompts[:3])


def test_a_locked_reader_stays(tmp_path, words):
    torch.manual_seed(0)
    model = RadiographCLIP(16, text_config(len(words), 24, 16, 1, 2), reader=reader_shape())
    before = {name: value.clone() for name, value in model.clip.visual.reader.state_dict().items()}
    one = job(tmp_path / "run", reader="reader", locked=True)
    learner = learner_of(model, words, images_and_rows(16), images_and_rows(4), one)
    next_batch = next(learner.batches(0, 1, 0))
    learner.train()
    sum(learner(next_batch).values()).backward()
    after = model.clip.visual.reader.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert model.clip.visual.project.weight.grad.abs().sum() > 0


def test_a_vision_tower_of_open_clip(tmp_path, words):
    vision = {"image_size": 32, "patch_size": 16, "width": 16, "layers": 1, "head_width": 8}
    model = RadiographCLIP(16, text_config(len(words), 24, 16, 1, 2), vision=vision)
    model.save_pretrained(tmp_path)
    words.save_pretrained(tmp_path / "tokenizer")
    judge = ImageText.load(tmp_path)
    torch.testing.assert_close(judge.images(torch.zeros(2, 1, 40, 40)).norm(dim=1), torch.ones(2))
    torch.testing.assert_close(judge.texts(["a", "b c"]).norm(dim=1), torch.ones(2))


def test_retrieval_counts_equal_texts_as_one():
    vectors = torch.eye(4)
    assert retrieval(vectors, vectors, ks=(1,)) == {"image to text R@1": 1, "text to image R@1": 1, "chance R@1": 0.25}
    turned = vectors.roll(1, 0)
    assert retrieval(vectors, turned, ks=(1,))["image to text R@1"] == 0
    texts = vectors[[0, 0, 2, 3]]  # the first two say the same
    figures = retrieval(vectors[[0, 0, 2, 1]], texts, ks=(1, 4))
    assert figures["image to text R@1"] == pytest.approx(3 / 4) and figures["text to image R@4"] == 1
    assert figures["chance R@1"] == pytest.approx((0.5 + 0.5 + 0.25 + 0.25) / 4) and figures["chance R@4"] == 1
    three = retrieval(vectors, texts, ks=(2,))["chance R@2"]
    assert three == pytest.approx((2 * (1 - 2 / 4 * 1 / 3) + 2 * (1 - 3 / 4 * 2 / 3)) / 4)


def test_a_collapsed_model_finds_nothing_where_the_rows_say_who_is_the_same():
    alike = torch.ones(6, 2) / 2**0.5
    figures = retrieval(alike, alike, ks=(1,), same=torch.eye(6, dtype=torch.bool), name="events")
    assert figures["image to events R@1"] == figures["events to image R@1"] == pytest.approx(1 / 6)


def test_unknown_architectures_and_unclear_configs_are_refused(tmp_path):
    assert named_configs("ViT-B-32")[0] == 512
    with pytest.raises(UserError, match="no such architecture"):
        named_configs("ViT-Z-1")
    with pytest.raises(UserError, match="Hugging Face"):
        named_configs("xlm-roberta-base-ViT-B-32")
    with pytest.raises(ValueError, match="either model or reader"):
        ClipConfig()
    RadiographClassifier(**reader_shape()).save_pretrained(tmp_path)
    with pytest.raises(UserError, match="holds a RadiographClassifier"):
        ImageText.load(tmp_path)

"""Text encoders: rows that stand alone, Hugging Face models from folders, adapters."""

import json

import pytest
import torch
from transformers import (
    BertConfig,
    BertModel,
    CLIPTextConfig,
    CLIPTextModel,
    GPT2Config,
    T5Config,
    T5EncoderModel,
)

from gen.errors import UserError
from gen.models.text import build_text_encoder, load_text_encoder, merged, train_tokenizer
from gen.schema import TextConfig

CORPUS = [
    "PA chest radiograph of a 60-year-old man. No acute findings.",
    "AP chest radiograph of a woman with cardiomegaly and a pleural effusion.",
    "Lateral view of a child with pneumonia.",
]
SHORT, LONG = "PA chest radiograph.", "AP chest radiograph of a woman with cardiomegaly and a pleural effusion."
LENGTH = 20
SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}


@pytest.fixture(scope="module")
def tokenizer():
    made = train_tokenizer(CORPUS)
    made.model_max_length = LENGTH
    return made


def small(**changes):
    torch.manual_seed(0)
    config = TextConfig(**{"width": 16, "layers": 2, "heads": 2, "max_tokens": LENGTH, **changes})
    return build_text_encoder(config, train_tokenizer(CORPUS)).eval()


def hugging_face(kind, tokenizer, folder):
    """A tiny model of one family, saved by its own class beside its tokenizer."""
    torch.manual_seed(0)
    words = len(tokenizer)
    if kind == "clip":
        special = {"bos_token_id": 2, "eos_token_id": 3, "pad_token_id": 0}
        model = CLIPTextModel(CLIPTextConfig(vocab_size=words, max_position_embeddings=LENGTH, **SIZES, **special))
    elif kind == "t5":
        model = T5EncoderModel(T5Config(vocab_size=words, d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2))
    else:
        model = BertModel(BertConfig(vocab_size=words, max_position_embeddings=LENGTH, **SIZES))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return model.eval()


def as_cxr_bert(folder, tokenizer):
    """What Microsoft's CXR-BERT has: a model type, classes and a tokenizer that ask for code from the hub."""
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "cxr-bert", "architectures": ["CXRBertModel"], "projection_size": 8}
    config |= {"auto_map": {"AutoConfig": "configuration_cxrbert.CXRBertConfig", "AutoModel": "x.CXRBertModel"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").unlink()
    words = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    (folder / "vocab.txt").write_text("".join(f"{word}\n" for word, _ in words))
    settings = {"do_lower_case": True, "tokenizer_class": "CXRBertTokenizer", "model_max_length": LENGTH}
    settings |= {"auto_map": {"AutoTokenizer": ["configuration_cxrbert.CXRBertTokenizer", None]}}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def assert_rows_stand_alone(encoder):
    states, mask = encoder([SHORT, LONG])
    assert states.shape == (2, encoder.max_tokens, encoder.width) and mask.dtype == torch.bool
    assert 0 < mask[0].sum() < mask[1].sum() <= encoder.max_tokens
    for row, prompt in enumerate([SHORT, LONG]):
        alone, alone_mask = encoder([prompt])
        torch.testing.assert_close(states[row], alone[0], atol=1e-5, rtol=0)
        assert torch.equal(mask[row], alone_mask[0])
    assert (states[0, 1:5] - states[1, 1:5]).abs().max() > 1e-3


@torch.no_grad()
def test_rows_stand_alone():
    assert_rows_stand_alone(small())


@torch.no_grad()
def test_padding_never_changes_a_token():
    encoder = small()
    long, mask = encoder([SHORT])
    count = int(mask.sum())
    encoder.max_tokens = count + 1
    short, _ = encoder([SHORT])
    torch.testing.assert_close(short[:, :count], long[:, :count], atol=1e-5, rtol=0)
    encoder.max_tokens, encoder.mask_padding = LENGTH, False
    counted, everything = encoder([SHORT])
    assert everything.all() and (counted - long)[:, :count].abs().max() > 1e-4


@torch.no_grad()
def test_long_prompts_are_cut_and_empty_ones_have_tokens():
    encoder = small(max_tokens=6)
    states, mask = encoder([LONG, ""])
    assert states.shape == (2, 6, 16) and mask[0].all() and mask[1].tolist() == [True, True] + [False] * 4


@torch.no_grad()
@pytest.mark.parametrize("kind", ["clip", "bert", "cxr-bert", "t5"])
def test_hugging_face_encoders_load_from_a_folder(kind, tokenizer, tmp_path):
    theirs = hugging_face(kind, tokenizer, tmp_path)
    if kind == "cxr-bert":
        as_cxr_bert(tmp_path, tokenizer)
    encoder = load_text_encoder(tmp_path, max_tokens=64).eval()
    assert type(encoder.model) is type(theirs)
    assert encoder.width == 16 and encoder.max_tokens == LENGTH
    assert_rows_stand_alone(encoder)
    batch = tokenizer([LONG], padding="max_length", max_length=LENGTH, truncation=True, return_tensors="pt")
    expected = theirs(input_ids=batch.input_ids, attention_mask=batch.attention_mask).last_hidden_state
    torch.testing.assert_close(encoder([LONG])[0], expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", ["bert", "clip", "t5"])
def test_every_weight_of_a_trained_encoder_gets_a_gradient(kind, tokenizer, tmp_path):
    """Distributed training stops on weights that never do, such as a BERT's pooling layer."""
    hugging_face(kind, tokenizer, tmp_path)
    encoder = build_text_encoder(TextConfig(model=str(tmp_path), max_tokens=LENGTH))
    encoder([SHORT, LONG])[0].square().mean().backward()
    assert [name for name, p in encoder.named_parameters() if p.grad is None] == []
    frozen = build_text_encoder(TextConfig(model=str(tmp_path), max_tokens=LENGTH, trainable=False))
    assert not any(p.requires_grad for p in frozen.parameters())


def test_models_that_cannot_be_had(tmp_path):
    with pytest.raises(UserError, match="not a folder here; for a hub model also give text.revision=COMMIT_HASH"):
        load_text_encoder("someone/some-encoder")
    with pytest.raises(UserError, match=f"{tmp_path}/config.json: no such file"):
        load_text_encoder(tmp_path)
    GPT2Config(n_layer=1).save_pretrained(tmp_path)
    with pytest.raises(UserError, match="encoder type 'gpt2' is not one of bert, cxr-bert, clip"):
        load_text_encoder(tmp_path)
    BertConfig(**SIZES).save_pretrained(tmp_path)  # no weights beside it, or pickled ones only
    (tmp_path / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(UserError, match="pickled weights are refused"):
        load_text_encoder(tmp_path)


def test_training_reads_no_more_padding_than_its_longest_prompt():
    encoder = small()
    states, mask = encoder(["Normal chest.", LONG])
    with torch.no_grad():
        whole, whole_mask = encoder(["Normal chest.", LONG])
    assert states.shape[1] == 16 < whole.shape[1] == LENGTH and torch.equal(mask, whole_mask[:, :16])
    assert not whole_mask[:, 16:].any()
    torch.testing.assert_close(states[mask], whole[whole_mask], atol=1e-5, rtol=0)
    encoder.mask_padding = False  # where padding counts it stays
    assert encoder(["Normal chest."])[0].shape[1] == LENGTH


def test_adapters_alone_are_trained_and_merge_into_the_same_function():
    pytest.importorskip("peft")
    encoder = small(lora_rank=2)
    trained = [name for name, p in encoder.named_parameters() if p.requires_grad]
    assert trained and all("lora_" in name for name in trained)
    with torch.no_grad():
        plain = encoder([LONG])[0]
        for name, p in encoder.named_parameters():
            if "lora_B" in name:
                p.normal_(std=0.5)
        adapted = encoder([LONG])[0]
        assert (adapted - plain).abs().max() > 1e-2
        for _ in range(2):  # every validation asks for the plain encoder
            whole = merged(encoder.model)
            assert type(whole) is BertModel and not any("lora" in name for name in whole.state_dict())
            batch = encoder.tokenizer([LONG], padding="max_length", max_length=LENGTH, return_tensors="pt")
            states = whole(input_ids=batch.input_ids, attention_mask=batch.attention_mask).last_hidden_state
            torch.testing.assert_close(states, adapted, atol=1e-5, rtol=0)
        assert [name for name, p in encoder.named_parameters() if p.requires_grad] == trained
        assert torch.equal(encoder([LONG])[0], adapted)
    assert merged(whole) is whole


def test_tokenizer_keeps_whole_words_and_knows_every_character():
    tokenizer = train_tokenizer(CORPUS)
    assert tokenizer.tokenize("Cardiomegaly, effusion!") == ["cardiomegaly", "[UNK]", "effusion", "[UNK]"]
    assert "[UNK]" not in tokenizer.tokenize("adiograph cardio a60 pneumo")
    assert train_tokenizer(list(reversed(CORPUS))).get_vocab() == tokenizer.get_vocab()
    assert len(train_tokenizer(CORPUS * 3, vocabulary=40)) == 40
    assert tokenizer("").input_ids == [tokenizer.cls_token_id, tokenizer.sep_token_id]

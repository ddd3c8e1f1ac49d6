"""Text encoders: the small one trained with the denoiser, and Hugging Face ones by configuration."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from torch import Tensor, nn
from transformers import (
    AutoTokenizer,
    BertConfig,
    BertModel,
    CLIPTextModel,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    RobertaModel,
    T5EncoderModel,
)

from gen.config import TextConfig
from gen.errors import UserError

# model_type in a checkpoint's config.json -> the plain class of its encoder. CXR-BERT's own class is a BertModel with
# a projection head that a denoiser does not use, so it loads without any remote code.
ENCODERS: dict[str, type[PreTrainedModel]] = {
    "bert": BertModel,
    "cxr-bert": BertModel,
    "clip": CLIPTextModel,
    "clip_text_model": CLIPTextModel,
    "roberta": RobertaModel,
    "t5": T5EncoderModel,
}


class TextEncoder(nn.Module):
    """A tokenizer and an encoder as one function from sentences to token states."""

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, max_tokens: int) -> None:
        super().__init__()
        self.model = model
        self.tokenizer = tokenizer
        self.max_tokens = max_tokens

    @property
    def width(self) -> int:
        """Channels of a token state."""
        return self.model.config.hidden_size

    def forward(self, prompts: list[str]) -> tuple[Tensor, Tensor]:
        """Token states of sentences, always padded to `max_tokens` so that a row never depends on its batch.

        Shapes: B strings -> states [B, L, D], mask [B, L] True where a token counts.
        """
        batch = self.tokenizer(
            prompts, padding="max_length", truncation=True, max_length=self.max_tokens, return_tensors="pt"
        ).to(self.model.device)
        states = self.model(input_ids=batch.input_ids, attention_mask=batch.attention_mask).last_hidden_state
        return states, batch.attention_mask.bool()


def build_text_encoder(config: TextConfig, corpus: list[str] | None = None) -> TextEncoder:
    """The encoder a config asks for; the small one learns its tokenizer from `corpus`."""
    if config.model is None:
        if not corpus:
            raise UserError("text.model: the small encoder needs prompts to learn its words from; the index has none")
        encoder = _small_encoder(config, train_tokenizer(corpus))
    else:
        encoder = load_text_encoder(config.model, config.subfolder, config.revision, config.max_tokens)
    if config.lora_rank:
        encoder.model = _with_lora(encoder.model, config.lora_rank)
    else:
        encoder.requires_grad_(config.trainable)
    return encoder


def load_text_encoder(
    model: str | Path, subfolder: str = "", revision: str | None = None, max_tokens: int = 77
) -> TextEncoder:
    """Load a Hugging Face encoder from a folder or, pinned to a revision, from the hub."""
    local = Path(model).exists()
    if not local and revision is None:
        raise UserError(f"text.model={model}: not a folder here; for a hub model also give text.revision=COMMIT_HASH")
    values, _ = PretrainedConfig.get_config_dict(model, subfolder=subfolder, revision=revision)
    kind = values.get("model_type")
    if kind not in ENCODERS:
        raise UserError(f"text.model={model}: encoder type {kind!r} is not one of {', '.join(ENCODERS)}")
    encoder = ENCODERS[kind].from_pretrained(model, subfolder=subfolder, revision=revision, use_safetensors=True)
    beside = "tokenizer" if local and (Path(model) / "tokenizer").is_dir() else subfolder
    tokenizer = AutoTokenizer.from_pretrained(model, subfolder=beside, revision=revision)
    return TextEncoder(encoder, tokenizer, min(max_tokens, tokenizer.model_max_length))


def train_tokenizer(corpus: list[str], vocabulary: int = 2048) -> PreTrainedTokenizerFast:
    """Learn a lower-case WordPiece tokenizer from sentences."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer.train_from_iterator(corpus, trainers.WordPieceTrainer(vocab_size=vocabulary, special_tokens=special))
    ids = [(name, tokenizer.token_to_id(name)) for name in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ids)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    )


def _small_encoder(config: TextConfig, tokenizer: PreTrainedTokenizerFast) -> TextEncoder:
    tokenizer.model_max_length = config.max_tokens
    model = BertModel(
        BertConfig(
            vocab_size=len(tokenizer),
            hidden_size=config.width,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            intermediate_size=4 * config.width,
            max_position_embeddings=config.max_tokens,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
            pad_token_id=tokenizer.pad_token_id,
        ),
        add_pooling_layer=False,
    )
    return TextEncoder(model, tokenizer, config.max_tokens)


def _with_lora(model: PreTrainedModel, rank: int) -> nn.Module:
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError:
        raise UserError("text.lora_rank: low-rank adapters need the extra: pip install 'cxr-gen[lora]'") from None
    targets = ["query", "value", "q_proj", "v_proj", "q", "v"]
    present = {name.rsplit(".", 1)[-1] for name, _ in model.named_modules()}
    return get_peft_model(model, LoraConfig(r=rank, lora_alpha=rank, target_modules=sorted(present & set(targets))))


@torch.no_grad()
def merged(model: nn.Module) -> PreTrainedModel:
    """The plain encoder behind adapters, for export; the model itself where there are none."""
    return model.merge_and_unload() if hasattr(model, "merge_and_unload") else model

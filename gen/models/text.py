"""Text encoders: the small one trained with the denoiser, and Hugging Face ones by configuration."""

from __future__ import annotations

from collections import Counter
from copy import deepcopy
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from torch import Tensor, nn
from transformers import (
    BertConfig,
    BertModel,
    BertTokenizer,
    CLIPTextModel,
    CLIPTokenizer,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    RobertaModel,
    RobertaTokenizer,
    T5EncoderModel,
    T5Tokenizer,
)
from transformers.models.auto.tokenization_auto import get_tokenizer_config

from gen.errors import UserError
from gen.models.folders import check_loaded, read_settings, refuse_pickles, said_plainly
from gen.models.prompts import KnownPrompts
from gen.schema import TextConfig

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
# the tokenizers that go with them, by the class that a tokenizer_config.json names, else by the encoder's family;
# transformers' own choice among all classes would offer to run a folder's code
TOKENIZERS: dict[str, type[PreTrainedTokenizerBase]] = {
    "PreTrainedTokenizer": PreTrainedTokenizerFast,
    "TokenizersBackend": PreTrainedTokenizerFast,
    "BertTokenizer": BertTokenizer,
    "CXRBertTokenizer": BertTokenizer,
    "CLIPTokenizer": CLIPTokenizer,
    "RobertaTokenizer": RobertaTokenizer,
    "T5Tokenizer": T5Tokenizer,
}
FAMILIES = {"bert": "Bert", "cxr-bert": "Bert", "clip": "CLIP", "clip_text_model": "CLIP"}
FAMILIES |= {"roberta": "Roberta", "t5": "T5"}

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


PACKED = 8  # few lengths, so that a compiled denoiser meets few shapes


class TextEncoder(nn.Module):
    """A tokenizer and an encoder as one function from sentences to token states.

    With `known`, and outside training, each sentence is encoded once.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        max_tokens: int,
        mask_padding: bool = True,
        known: KnownPrompts | None = None,
    ) -> None:
        super().__init__()
        self.known = known
        self.model = model
        self.tokenizer = tokenizer
        self.max_tokens = max_tokens
        self.mask_padding = mask_padding
        drop_pooler(model)

    @property
    def width(self) -> int:
        """Channels of a token state."""
        return self.model.config.hidden_size

    def forward(self, prompts: list[str]) -> tuple[Tensor, Tensor]:
        """Token states of sentences, padded to `max_tokens` so that a row never depends on its batch.

        In training they are padded to the longest of the batch. Without `mask_padding` padding counts too, as Stable
        Diffusion has it. Shapes: B strings -> states [B, L, D], mask [B, L] True where a token counts.
        """
        if self.known is None or torch.is_grad_enabled() or self.model.training:
            return self._encoded(prompts, packed=torch.is_grad_enabled() and self.mask_padding)
        settings = (self.max_tokens, self.mask_padding, self.tokenizer)
        return self.known.states(prompts, self.model, settings, self._encoded)

    def _encoded(self, prompts: list[str], packed: bool = False) -> tuple[Tensor, Tensor]:
        batch = self.tokenizer(
            prompts, padding="max_length", truncation=True, max_length=self.max_tokens, return_tensors="pt"
        )
        length = _needed(batch.attention_mask) if packed else self.max_tokens
        ids, mask = (tensor[:, :length].to(self.model.device) for tensor in (batch.input_ids, batch.attention_mask))
        mask = mask if self.mask_padding else torch.ones_like(mask)
        states = self.model(input_ids=ids, attention_mask=mask).last_hidden_state
        return states, mask.bool().to(states.device)  # a model that is offloaded stands elsewhere than its states


def _needed(mask: Tensor) -> int:
    """Columns up to the last one that counts, a multiple of PACKED of them. Shapes: mask [B, L] -> at most L."""
    last = int(mask.any(0).nonzero().max()) + 1
    return min(mask.shape[1], -(-last // PACKED) * PACKED)


def build_text_encoder(config: TextConfig, tokenizer: PreTrainedTokenizerBase | None = None) -> TextEncoder:
    """The encoder a config asks for; the small one needs a tokenizer, see `train_tokenizer`."""
    if config.model is None:
        assert tokenizer is not None, "the small encoder has no words of its own"
        encoder = _small_encoder(config, tokenizer)
    else:
        encoder = load_text_encoder(config.model, config.subfolder, config.revision, config.max_tokens)
    if config.lora_rank:
        encoder.model = with_lora(encoder.model, config.lora_rank)
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
    if local:
        read_settings(Path(model) / subfolder / "config.json")
        refuse_pickles(Path(model) / subfolder)
    with said_plainly(Path(model), "text encoder"):
        values, _ = PretrainedConfig.get_config_dict(model, subfolder=subfolder, revision=revision)
        kind = values.get("model_type")
        if kind not in ENCODERS:
            raise UserError(f"text.model={model}: encoder type {kind!r} is not one of {', '.join(ENCODERS)}")
        # without the pooling layer of the BERT family, which nothing here uses
        pooling = {"add_pooling_layer": False} if issubclass(ENCODERS[kind], BertModel | RobertaModel) else {}
        encoder, report = ENCODERS[kind].from_pretrained(  # pyright: ignore[reportGeneralTypeIssues]
            model,
            subfolder=subfolder,
            revision=revision,
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # check_loaded refuses them by name
            dtype=torch.float32,
            **pooling,
        )
        beside = "tokenizer" if local and (Path(model) / "tokenizer").is_dir() else subfolder
        tokenizer = load_tokenizer(model, beside, revision, f"{FAMILIES[kind]}Tokenizer")
        length = min(max_tokens, int(tokenizer.model_max_length))
        tokenizer([""], padding="max_length", truncation=True, max_length=length)  # raises what it lacks now
    check_loaded(Path(model), encoder, report)
    return TextEncoder(encoder, tokenizer, length)


def load_tokenizer(
    model: str | Path, subfolder: str = "", revision: str | None = None, otherwise: str = "TokenizersBackend"
) -> PreTrainedTokenizerBase:
    """A tokenizer of a known class; `otherwise` is the class where its settings name none."""
    with said_plainly(Path(model), "tokenizer"):
        named = get_tokenizer_config(model, subfolder=subfolder, revision=revision).get("tokenizer_class") or otherwise
        kind = TOKENIZERS.get(str(named).removesuffix("Fast"))
        if kind is None:
            raise UserError(f"{model}: tokenizer class {named!r} is none of {', '.join(TOKENIZERS)}")
        return kind.from_pretrained(model, subfolder=subfolder, revision=revision)


def drop_pooler(model: nn.Module) -> None:
    """Remove a BERT's pooling layer: idle weights stop distributed training, and random ones change a saved model."""
    if getattr(model, "pooler", None) is not None:
        model.pooler = None


def train_tokenizer(corpus: list[str], vocabulary: int = 2048) -> PreTrainedTokenizerFast:
    """A lower-case WordPiece tokenizer of the corpus' most frequent words, single characters for all others.

    The same on every run and machine, which the trainers of `tokenizers` are not: a resumed run needs its words.
    """
    normalizer, splitter = normalizers.BertNormalizer(lowercase=True), pre_tokenizers.BertPreTokenizer()
    counts = Counter(word for text in corpus for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text)))
    characters = sorted({character for word in counts for character in word})
    words = [word for word, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0])) if len(word) > 1]
    entries = [*SPECIAL_TOKENS, *characters, *(f"##{character}" for character in characters), *words][:vocabulary]
    vocab = {entry: number for number, entry in enumerate(entries)}
    tokenizer = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, splitter
    ids = [(name, vocab[name]) for name in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ids)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    )


def _small_encoder(config: TextConfig, tokenizer: PreTrainedTokenizerBase) -> TextEncoder:
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


def with_lora(model: PreTrainedModel, rank: int) -> nn.Module:
    """The model with low-rank changes to its attention's queries and values, which alone are trained (extra [lora])."""
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
    # of a copy, for merging takes the adapters out of the model it is asked of
    return deepcopy(model).merge_and_unload() if hasattr(model, "merge_and_unload") else model

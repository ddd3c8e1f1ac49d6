"""Radiographs and prompts, or events, in one space: open_clip's CLIP as a folder that loads without code or network."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from diffusers import ModelMixin
from diffusers.configuration_utils import ConfigMixin, register_to_config
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedTokenizerBase

from gen.errors import UserError
from gen.models.classifier import RadiographClassifier
from gen.models.condition import masked_mean
from gen.models.events import Event, EventsEncoder

# open_clip builds towers of its own always; where a reader or events take their place, these least ones are thrown away
LEAST_TOWER = {"image_size": 16, "patch_size": 16, "width": 16, "layers": 1, "head_width": 16}
LEAST_TEXT = {"context_length": 1, "vocab_size": 1, "width": 16, "layers": 1, "heads": 1}
Told = tuple[Sequence[Sequence[Event]], Tensor]  # sets of events, and hours since the priors [B]


class RadiographCLIP(ModelMixin, ConfigMixin):
    """open_clip's CLIP (Radford et al., arXiv 2103.00020) for one-channel images.

    `vision` and `text` are open_clip's `vision_cfg` and `text_cfg`; instead of `vision`, `reader` takes that of
    a RadiographClassifier, whose features become the image tower; instead of `text`, `events` takes that of an
    EventsEncoder.
    """

    @register_to_config
    def __init__(
        self,
        embed: int,
        text: dict | None = None,
        vision: dict | None = None,
        reader: dict | None = None,
        events: dict | None = None,
    ) -> None:
        import open_clip

        super().__init__()
        if (vision is None) == (reader is None):
            raise UserError("a CLIP needs either vision or reader; give one of the two")
        if (text is None) == (events is None):
            raise UserError("a CLIP needs either text or events; give one of the two")
        kind = open_clip.CLIP if events is None else open_clip.CustomTextCLIP
        self.clip = kind(embed, vision or LEAST_TOWER, text or LEAST_TEXT)
        if events is not None:
            self.clip.text = EventsTower(EventsEncoder(**events), embed)
        if reader is not None:
            self.clip.visual = ReaderTower(RadiographClassifier(**reader), embed)

    def images(self, image: Tensor, prior: Tensor | None = None) -> Tensor:
        """Unit vectors of radiographs, or of what they differ in from prior ones.

        Shapes: [B, 1, H, W] in [-1, 1] each -> [B, E].
        """
        seen = self._seen(image)
        return F.normalize(seen if prior is None else seen - self._seen(prior), dim=1)

    def _seen(self, image: Tensor) -> Tensor:
        if self.config.vision is not None:
            side = self.config.vision.get("image_size", 224)
            image = F.interpolate(image.float(), (side, side), mode="bilinear", antialias=True).expand(-1, 3, -1, -1)
        return self.clip.encode_image(image).float()

    def texts(self, said: Tensor | Told) -> Tensor:
        """Unit vectors of prompts, or of sets of events. Shapes: [B, L] token numbers, or Told -> [B, E]."""
        return F.normalize(self.clip.encode_text(said).float(), dim=1)

    @property
    def scale(self) -> Tensor:
        """What similarities are multiplied by in the loss."""
        return self.clip.logit_scale.exp().clamp(max=100)


class ReaderTower(nn.Module):
    """The features of a reader, projected."""

    def __init__(self, reader: RadiographClassifier, embed: int) -> None:
        super().__init__()
        self.reader = reader
        self.project = nn.Linear(reader.config.features, embed)

    def forward(self, image: Tensor) -> Tensor:
        """Shapes: [B, 1, H, W] in [-1, 1], or the reader's features [B, F] -> [B, E]."""
        features = image if image.ndim == 2 else self.reader(image).features
        return self.project(F.gelu(features))


class EventsTower(nn.Module):
    """The mean of an encoder's tokens, which is also what sums them up for a denoiser, projected."""

    def __init__(self, encoder: EventsEncoder, embed: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.project = nn.Linear(encoder.config.token_width, embed)

    def forward(self, told: Told) -> Tensor:
        """Shapes: B sets of events and gaps [B] -> [B, E]."""
        sets, gap = told
        gap = gap.to(self.project.weight.device)
        unseen = torch.zeros(len(sets), 1, 1, 1, device=gap.device)
        return self.project(masked_mean(*self.encoder.read(sets, gap, unseen, unseen[:, 0, 0, 0] > 0)))


def tokens_of(tokenizer: PreTrainedTokenizerBase, prompts: list[str], length: int) -> Tensor:
    """Token numbers of prompts, cut or padded. Shapes: -> [B, length]."""
    batch = tokenizer(prompts, padding="max_length", truncation=True, max_length=length, return_tensors="pt")
    return batch.input_ids


def text_config(words: int, length: int, width: int, layers: int, heads: int) -> dict:
    """open_clip's `text_cfg` of a small encoder that sees all words at once and answers at the first token."""
    shape = {"vocab_size": words, "context_length": length, "width": width, "layers": layers, "heads": heads}
    return shape | {"no_causal_mask": True, "pool_type": "first"}


def named_configs(name: str) -> tuple[int, dict, dict]:
    """Embedding width, `vision_cfg` and `text_cfg` of an architecture that open_clip knows, such as ViT-B-32.

    Errors: UserError for an unknown name, or one whose text encoder is not open_clip's own.
    """
    import open_clip

    config = open_clip.get_model_config(name)
    if config is None:
        near = ", ".join(n for n in open_clip.list_models() if n[:3].lower() == name[:3].lower()) or "ViT-B-32, RN50"
        raise UserError(f"clip.model {name!r}: open_clip knows no such architecture (near it: {near})")
    if "hf_model_name" in config["text_cfg"]:
        raise UserError(f"clip.model {name!r}: its text encoder comes from Hugging Face; take one of open_clip's own")
    return config["embed_dim"], config["vision_cfg"], config["text_cfg"]


@torch.no_grad()
def start_tower(model: RadiographCLIP, reader: RadiographClassifier) -> None:
    """Give the image tower a trained reader's weights."""
    model.clip.visual.reader.load_state_dict(reader.state_dict())

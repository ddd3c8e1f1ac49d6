"""The denoiser: a diffusers UNet or transformer behind one interface."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from diffusers import PixArtTransformer2DModel, UNet2DConditionModel
from torch import Tensor, nn

from gen.errors import UserError
from gen.models.condition import Condition
from gen.schema import DenoiserConfig, TransformerConfig, UNetConfig

Backbone = UNet2DConditionModel | PixArtTransformer2DModel


class Denoiser(nn.Module):
    """`denoiser(z, t, condition, guidance)` for any backbone; what is saved is the plain diffusers backbone."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone

    @property
    def latent_channels(self) -> int:
        """Channels of the latent that is denoised."""
        return self.backbone.config.out_channels

    @property
    def embeds_guidance(self) -> bool:
        """Whether the backbone is told the guidance scale: a distilled student, one call a step."""
        return bool(getattr(self.backbone.config, "time_cond_proj_dim", None))

    @property
    def embeds_end(self) -> bool:
        """Whether the backbone is told where its step ends: a student of mean velocities."""
        return getattr(self.backbone.config, "addition_embed_type", None) == "text_time"

    def forward(
        self,
        z: Tensor,
        t: Tensor,
        condition: Condition,
        guidance: Tensor | None = None,
        end: Tensor | None = None,
    ) -> Tensor:
        """Predict noise, velocity or clean latent, whichever the model was trained for.

        Shapes: z [B, C, h, w], t [B] training time steps, guidance [B] scales or None -> [B, C, h, w]. What is embedded
        is the scale less one, as diffusers' pipelines do it: 0 for the conditional model alone. `end` [B], for students
        that embed it, is the time at which the step ends, -1 the data; None is the time step next to t.
        """
        x = z if condition.spatial is None else torch.cat([z, condition.spatial], dim=1)
        if isinstance(self.backbone, PixArtTransformer2DModel):
            return self._transformer(x, t, condition)
        embedded = None
        if guidance is not None:
            embedded = guidance_embedding(guidance - 1, self.backbone.config.time_cond_proj_dim).to(x.dtype)
        return self.backbone(
            x,
            t,
            encoder_hidden_states=condition.tokens,
            encoder_attention_mask=condition.mask,
            timestep_cond=embedded,
            class_labels=condition.summary() if self.backbone.config.class_embed_type == "projection" else None,
            added_cond_kwargs=self._length(x, t, end) if self.embeds_end else None,
            return_dict=False,
        )[0]

    def _length(self, x: Tensor, t: Tensor, end: Tensor | None) -> dict[str, Tensor]:
        """Time steps that are left out between t and the end, where diffusers' UNet takes sizes and a pooled text."""
        left_out = torch.zeros_like(t) if end is None else t - end - 1
        return {"text_embeds": x.new_zeros(len(x), 0), "time_ids": left_out.expand(len(x))[:, None]}

    def _transformer(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        return self.backbone(
            x,
            encoder_hidden_states=condition.tokens,
            encoder_attention_mask=condition.mask,
            timestep=t.expand(len(x)),
            added_cond_kwargs={"resolution": None, "aspect_ratio": None},
            return_dict=False,
        )[0]


def widened(backbone: Backbone, spatial_channels: int) -> Backbone:
    """The backbone with this many channels beside the latent; new ones start at zero, so nothing changes at first."""
    channels = backbone.config.out_channels + spatial_channels
    if backbone.config.in_channels == channels:
        return backbone
    if not isinstance(backbone, UNet2DConditionModel):
        raise UserError("denoiser: only UNets can be given a further input; train a transformer from scratch")
    if backbone.config.in_channels > channels:
        raise UserError(f"denoiser: takes {backbone.config.in_channels} channels, this task gives only {channels}")
    old = backbone.conv_in
    new = nn.Conv2d(channels, old.out_channels, old.kernel_size, padding=old.padding)
    with torch.no_grad():
        new.weight.zero_()
        new.weight[:, : old.in_channels] = old.weight
        new.bias.copy_(old.bias)
    backbone.conv_in = new.to(old.weight)
    backbone.register_to_config(in_channels=channels)
    return backbone


def guidance_embedding(guidance: Tensor, channels: int) -> Tensor:
    """Sinusoidal embedding of a guidance scale (Meng et al., arXiv 2210.03142). Shapes: [B] -> [B, channels]."""
    half = channels // 2
    frequencies = torch.exp(-math.log(10_000.0) * torch.arange(half, device=guidance.device) / (half - 1))
    angles = 1000.0 * guidance[:, None].float() * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def build_denoiser(
    config: DenoiserConfig, latent_channels: int, latent_size: int, token_width: int, spatial_channels: int = 0
) -> Denoiser:
    """A denoiser with random weights, its output layer at zero."""
    build = _build_unet if isinstance(config, UNetConfig) else _build_transformer
    backbone = build(config, latent_channels, latent_size, token_width, spatial_channels)
    if config.gradient_checkpointing:
        backbone.enable_gradient_checkpointing()
    return Denoiser(backbone)


def student_of(teacher: Denoiser, guidance_channels: int, embeds_end: bool = False) -> Denoiser:
    """A copy that can be told the guidance scale, and where its steps end; it starts as the teacher.

    What is new has weights of zero in its last layer. Errors: UserError for a transformer, which has no place for the
    scale, and for a teacher that is a student itself.
    """
    if not isinstance(teacher.backbone, UNet2DConditionModel):
        raise UserError("teacher: only a UNet can be told the guidance scale; distil one of those")
    if teacher.embeds_guidance:
        raise UserError("teacher: this is a distilled student itself; distil the model that it came from")
    config = teacher.backbone.config
    changes = _end_settings(config) if embeds_end else {}
    backbone = UNet2DConditionModel.from_config(config, time_cond_proj_dim=guidance_channels, **changes)
    left = backbone.load_state_dict(teacher.backbone.state_dict(), strict=False)
    assert all("cond_proj" in name or "add_embedding" in name for name in left.missing_keys), left
    assert not left.unexpected_keys
    nn.init.zeros_(backbone.time_embedding.cond_proj.weight)
    if embeds_end:
        nn.init.zeros_(backbone.add_embedding.linear_2.weight)
        nn.init.zeros_(backbone.add_embedding.linear_2.bias)
    return Denoiser(backbone)


def _end_settings(config: Mapping) -> dict[str, object]:
    """Settings of a UNet that embeds one more number; its class embedding has the same width in diffusers."""
    width = config["projection_class_embeddings_input_dim"] or config["block_out_channels"][0]
    return {
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": width,
        "projection_class_embeddings_input_dim": width,
    }


def _build_unet(
    config: UNetConfig, latent_channels: int, latent_size: int, token_width: int, spatial_channels: int
) -> UNet2DConditionModel:
    attention = config.attention_levels
    unet = UNet2DConditionModel(
        sample_size=latent_size,
        in_channels=latent_channels + spatial_channels,
        out_channels=latent_channels,
        block_out_channels=config.block_out_channels,
        layers_per_block=config.layers_per_block,
        down_block_types=tuple("CrossAttnDownBlock2D" if a else "DownBlock2D" for a in attention),
        up_block_types=tuple("CrossAttnUpBlock2D" if a else "UpBlock2D" for a in reversed(attention)),
        # diffusers keeps this misnamed field for the number of heads
        attention_head_dim=tuple(max(1, width // config.head_channels) for width in config.block_out_channels),
        cross_attention_dim=token_width,
        time_cond_proj_dim=config.guidance_channels or None,
        resnet_time_scale_shift="scale_shift" if config.scales else "default",
        class_embed_type="projection" if config.summary else None,
        projection_class_embeddings_input_dim=token_width if config.summary else None,
    )
    nn.init.zeros_(unet.conv_out.weight)
    nn.init.zeros_(unet.conv_out.bias)
    return unet


def _build_transformer(
    config: TransformerConfig, latent_channels: int, latent_size: int, token_width: int, spatial_channels: int
) -> PixArtTransformer2DModel:
    width = config.heads * config.head_channels
    model = PixArtTransformer2DModel(
        num_attention_heads=config.heads,
        attention_head_dim=config.head_channels,
        in_channels=latent_channels + spatial_channels,
        out_channels=latent_channels,
        num_layers=config.layers,
        cross_attention_dim=width,
        caption_channels=token_width,
        sample_size=latent_size,
        patch_size=config.patch,
        use_additional_conditions=False,
    )
    nn.init.zeros_(model.proj_out.weight)
    nn.init.zeros_(model.proj_out.bias)
    return model

"""Text to radiograph: the prompt's token states, and nothing else."""

from __future__ import annotations

from torch import Tensor, nn

from gen.models.condition import Condition
from gen.models.text import TextEncoder


class TextTask(nn.Module):
    """Condition on a prompt; the null is the empty prompt."""

    columns = ("prompt",)

    def __init__(self, text: TextEncoder) -> None:
        super().__init__()
        self.text = text

    @staticmethod
    def spatial_channels(latent_channels: int) -> int:
        """Nothing is concatenated to the latent."""
        return 0

    def forward(self, batch: dict[str, list[str] | Tensor]) -> Condition:
        """Shapes: B prompts -> tokens [B, L, D]."""
        states, mask = self.text([*batch["prompt"], ""])
        tokens, mask, null, null_mask = states[:-1], mask[:-1], states[-1:], mask[-1:]
        return Condition(
            tokens=tokens,
            mask=mask,
            null_tokens=null.expand_as(tokens),
            null_mask=null_mask.expand_as(mask),
        )

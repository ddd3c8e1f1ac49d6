"""The algebra of a noise schedule: z_t = alpha_t z_0 + sigma_t noise, and its three parameterisations.

snr = alpha^2 / sigma^2; v = alpha noise - sigma z_0 (Salimans and Ho, arXiv 2202.00512). All functions take alpha and
sigma shaped to broadcast against the latents.
"""

from __future__ import annotations

import torch
from diffusers import DDPMScheduler
from torch import Tensor

from gen.schema import DiffusionConfig


def build_scheduler(config: DiffusionConfig) -> DDPMScheduler:
    """The training scheduler; saved with a model, it also defines every sampler."""
    return DDPMScheduler(
        num_train_timesteps=config.steps,
        beta_start=config.beta_start,
        beta_end=config.beta_end,
        beta_schedule=config.schedule,
        prediction_type=config.prediction,
        rescale_betas_zero_snr=config.zero_terminal_snr,
        timestep_spacing="trailing",
        clip_sample=False,
    )


def alpha_sigma(alphas_cumprod: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """Signal and noise amplitude at time steps. Shapes: [T], [B] -> two of [B, 1, 1, 1]."""
    cumulative = alphas_cumprod.to(t.device)[t].view(-1, 1, 1, 1)
    return cumulative.sqrt(), (1 - cumulative).sqrt()


def add_noise(z0: Tensor, noise: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """Forward process. Shapes: [B, C, h, w] each -> [B, C, h, w]."""
    return alpha * z0 + sigma * noise


def target(prediction: str, z0: Tensor, noise: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """What a denoiser of this prediction type should output."""
    if prediction == "epsilon":
        return noise
    if prediction == "sample":
        return z0
    return alpha * noise - sigma * z0


def to_z0(prediction: str, output: Tensor, z: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """Clean latent implied by a denoiser's output at z; epsilon needs alpha > 0."""
    if prediction == "epsilon":
        return (z - sigma * output) / alpha
    if prediction == "sample":
        return output
    return alpha * z - sigma * output


def to_noise(prediction: str, output: Tensor, z: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """Noise implied by a denoiser's output at z; sample needs sigma > 0."""
    if prediction == "epsilon":
        return output
    if prediction == "sample":
        return (z - alpha * output) / sigma
    return alpha * output + sigma * z


def min_snr_weight(prediction: str, alpha: Tensor, sigma: Tensor, gamma: float) -> Tensor:
    """Loss weight that equals min(snr, gamma) on the z_0 error (Hang et al., arXiv 2303.09556). Shapes: -> [B]."""
    snr = (alpha / sigma).square().flatten()
    capped = snr.clamp(max=gamma)
    if prediction == "sample":
        return capped
    if prediction == "epsilon":
        # at zero terminal SNR both vanish; their ratio is 1
        return torch.where(snr > 0, capped / snr.clamp_min(1e-12), torch.ones_like(snr))
    return capped / (snr + 1)

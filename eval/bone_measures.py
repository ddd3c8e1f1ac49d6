"""How well bones are suppressed in one radiograph: in floats, and as BS-LDM and GL-LCM publish it.

All images are [H, W] float in 0..1: `cxr` the radiograph, `target` the real soft-tissue image, `output` the judged one.
"""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional as F

PUBLISHED_SIDE = 1024  # pixels; BS-LDM's figures resample everything to it
PUBLISHED_BEST = 100.0  # dB, theirs for equal images


def bone_suppression(cxr: np.ndarray, target: np.ndarray, output: np.ndarray) -> dict[str, float]:
    """1 - squared error over squared bone, after the output's mean is set to the target's (BS-LDM, arXiv 2412.15670).

    `BSR` counts only what is too dark, as theirs; `BSR residual` what is too bright, which is the bone that was left;
    `BSR two-sided` both. The bone is what the radiograph has above the target.
    """
    bone = float((np.maximum(cxr - target, 0) ** 2).sum())
    off = target - (output + (target.mean() - output.mean()))
    dark, bright = (float((np.maximum(part, 0) ** 2).sum()) for part in (off, -off))
    return {
        "BSR": _kept(dark, bone),
        "BSR residual": _kept(bright, bone),
        "BSR two-sided": _kept(dark + bright, bone),
    }


def errors(target: np.ndarray, output: np.ndarray) -> dict[str, float]:
    """Mean squared error, its PSNR (dB, peak 1, infinite for equal images) and SSIM (Wang et al. 2004)."""
    from torchmetrics.functional.image import structural_similarity_index_measure

    mse = float(((target - output) ** 2).mean())
    with np.errstate(divide="ignore"):
        psnr = float(-10 * np.log10(mse))
    pair = (torch.from_numpy(np.ascontiguousarray(x, np.float32))[None, None] for x in (output, target))
    return {"MSE": mse, "PSNR": psnr, "SSIM": float(structural_similarity_index_measure(*pair, data_range=1.0))}


def as_published(cxr: np.ndarray, target: np.ndarray, output: np.ndarray) -> dict[str, float]:
    """BSR, MSE and PSNR as BS-LDM's code has them, for comparison with its tables only.

    8-bit images at 1,024 px; the bone is signed, so that where the target is brighter it counts as bone too; PSNR is
    taken from 8-bit differences and squares, both of which wrap at 256.
    """
    cxr, target, output = (_eight_bit(image) for image in (cxr, target, output))
    real, made = target / 255, output / 255
    shifted = made + (real - made).mean()
    dark = float((np.maximum(real - shifted, 0) ** 2).sum())
    wrapped = float((np.subtract(target, output) ** 2).mean())
    return {
        "BSR": _kept(dark, float(((cxr / 255 - real) ** 2).sum())),
        "MSE": float(((real - made) ** 2).mean()),
        "PSNR": PUBLISHED_BEST if wrapped == 0 else float(10 * np.log10(255**2 / wrapped)),
    }


def perceptual_distance(target: np.ndarray, output: np.ndarray, network, published: bool = False) -> float:
    """LPIPS (Zhang et al. 2018) by a torchmetrics network, fed as it wants it, three channels in -1..1.

    `published` feeds one channel in 0..1 instead, resampled to 1,024 px, as BS-LDM does.
    """
    if published:
        target, output = (_eight_bit(image) / 255 for image in (target, output))
    images = (torch.from_numpy(np.ascontiguousarray(image, np.float32))[None, None] for image in (target, output))
    fed = [image if published else image * 2 - 1 for image in images]
    with torch.no_grad():
        return float(network(*(image.expand(-1, 3, -1, -1) for image in fed)))


def _kept(lost: float, bone: float) -> float:
    return 1 - lost / bone if bone else float("nan")


def _eight_bit(image: np.ndarray) -> np.ndarray:
    """Quantised, then resampled without antialiasing as OpenCV does. Shapes: [H, W] in 0..1 -> [1024, 1024] uint8."""
    levels = torch.from_numpy(np.round(np.clip(image, 0, 1) * 255).astype(np.float32))[None, None]
    if levels.shape[-2:] != (PUBLISHED_SIDE, PUBLISHED_SIDE):
        levels = F.interpolate(levels, (PUBLISHED_SIDE, PUBLISHED_SIDE), mode="bilinear", align_corners=False)
    return levels[0, 0].round().clamp(0, 255).numpy().astype(np.uint8)

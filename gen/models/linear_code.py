"""The best linear code of an image: principal components of its patches, and a way back without edges of patches."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

RIDGE = 1e-4  # share of a channel's power that counts as noise: keeps weights small where the fit would not care


def principal_components(images: Tensor, step: int, channels: int) -> Tensor:
    """The strongest components of square patches, scaled so that they measure latents of mean square 1.

    Shapes: images [N, 1, H, W] -> [channels, step * step], strongest first.
    """
    patches = F.unfold(images, step, stride=step).transpose(1, 2).reshape(-1, step * step).double()
    _, vectors = torch.linalg.eigh(torch.cov(patches.T))
    basis = vectors[:, -channels:].T.flip(0)
    power = ((patches - patches.mean()) @ basis.T).square().mean()
    return (basis / power.sqrt()).to(images.dtype)


def whitening(means: Tensor, power: float) -> tuple[Tensor, Tensor]:
    """Shift and scale k * std^power of each channel; k gives unit mean square. Shapes: [N, C, h, w] -> two of [C]."""
    std, mean = torch.std_mean(means.double(), dim=(0, 2, 3))
    scale = std.clamp_min(1e-6) ** power
    return mean, scale * (std / scale).square().mean().sqrt()


def unfolding(latents: Tensor, images: Tensor, step: int, power: float) -> Tensor:
    """The orthogonal map that brings whitened latents nearest to a finer code of the same number of values.

    The finer code is the whitened principal components of `step`-pixel patches, folded up to the latents' grid; nearest
    in least squares (orthogonal Procrustes: Schoenemann 1966, doi 10.1007/BF02289451). Shapes: latents [N, C, h, w],
    images [N, 1, H, W] with H = h * u * step -> [C, C], for `pixel_shuffle(map @ latents, u)`.
    """
    u = images.shape[-1] // latents.shape[-1] // step
    channels = latents.shape[1] // u**2
    basis = principal_components(images, step, channels).view(channels, 1, step, step)
    fine = F.conv2d(images, basis, stride=step)  # [N, C / u^2, u h, u w]
    shift, scale = whitening(fine, power)
    fine = (fine - shift.to(fine.dtype)[None, :, None, None]) / scale.to(fine.dtype)[None, :, None, None]
    cross = torch.einsum("nohw,nchw->oc", F.pixel_unshuffle(fine, u).double(), latents.double())
    left, _, right = torch.linalg.svd(cross)
    return (left @ right).to(latents.dtype)


def lapped_synthesis(latents: Tensor, images: Tensor, step: int) -> Tensor:
    """Weights of ConvTranspose2d(C, 1, 2 * step, stride=step, padding=step // 2) that bring latents nearest to images.

    A pixel lies in four windows, so each quarter of the step's square is a ridge regression on the 2 x 2 latents
    around it. Shapes: latents [N, C, h, w], images [N, 1, h * step, w * step] -> [C, 1, 2 * step, 2 * step].
    """
    channels, half = latents.shape[1], step // 2
    around = F.pad(latents.double(), (1, 1, 1, 1))
    folded = F.pixel_unshuffle(images.double(), step).unflatten(1, (step, step))  # [N, row, column, h, w]
    kernel = latents.new_zeros(channels, 1, 2 * step, 2 * step, dtype=torch.float64)
    for down in (0, 1):  # the upper and the lower half of the square
        for right in (0, 1):
            near = _neighbours(around[:, :, down:, right:], latents.shape[-2:])
            rows, columns = slice(half * down, half * (down + 1)), slice(half * right, half * (right + 1))
            pixels = folded[:, rows, columns].permute(0, 3, 4, 1, 2).reshape(len(near), -1)
            weights = _ridge(near, pixels).view(2, 2, channels, half, half)
            for row in (0, 1):
                for column in (0, 1):  # a latent above a pixel sees it in the lower part of its window
                    top, left = step * (1 - row) + half * (1 - down), step * (1 - column) + half * (1 - right)
                    kernel[:, 0, top : top + half, left : left + half] = weights[row, column]
    return kernel.to(latents.dtype)


def _neighbours(around: Tensor, size: tuple[int, int]) -> Tensor:
    """Shapes: [N, C, >= h + 1, >= w + 1] -> [N * h * w, 4 * C], the 2 x 2 latents from each position on."""
    height, width = size
    parts = [around[:, :, row : row + height, column : column + width] for row in (0, 1) for column in (0, 1)]
    return torch.cat(parts, dim=1).permute(0, 2, 3, 1).flatten(0, 2)


def _ridge(inputs: Tensor, targets: Tensor) -> Tensor:
    """Least squares with a penalty on each weight in proportion to its input's power. [M, K], [M, T] -> [K, T]."""
    gram = inputs.T @ inputs
    return torch.linalg.solve(gram + RIDGE * torch.diag(gram.diagonal()), inputs.T @ targets)

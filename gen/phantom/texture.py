"""A random field in space as a sum of plane waves: smooth, the same from every side, cheap on a plane."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gen.phantom.geometry import Slab


@dataclass(frozen=True)
class Waves:
    """Unit-variance field. Shapes: vectors [N, 3] radians per mm, phases and weights [N]."""

    vectors: np.ndarray
    phases: np.ndarray
    weights: np.ndarray

    @staticmethod
    def drawn(rng: np.random.Generator, count: int, lengths: tuple[float, float]) -> Waves:
        """Waves of random direction; lengths within limits in mm, amplitude in proportion to the length."""
        length = np.exp(rng.uniform(*np.log(lengths), count))
        way = rng.normal(size=(count, 3))
        way /= np.linalg.norm(way, axis=1, keepdims=True)
        weights = length / np.sqrt((length**2).sum() / 2)
        numbers = (way * (2 * np.pi / length[:, None]), rng.uniform(0, 2 * np.pi, count), weights)
        return Waves(*(value.astype(np.float32) for value in numbers))

    def __call__(self, slab: Slab) -> np.ndarray:
        """The field on a plane, or at a cloud of points. Shapes: -> [H, W], or [N]."""
        kx, ky, kz = self.vectors.T[:, :, None]
        if slab.x.ndim == 1:
            phase = kx * slab.x + ky * slab.y + kz * slab.z + self.phases[:, None]
            return self.weights @ np.sin(phase)
        across = kx * slab.x + ky * slab.y + self.phases[:, None]
        down = kz * slab.z.T
        weights = self.weights[:, None]
        turns = np.concatenate([np.cos(down), np.sin(down)])
        return turns.T @ np.concatenate([weights * np.sin(across), weights * np.cos(across)])

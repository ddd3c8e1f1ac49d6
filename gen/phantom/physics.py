"""From masses along a ray to a radiograph: spectrum, attenuation, scatter, noise, detector and display.

Mass attenuation coefficients are those of Hubbell and Seltzer, NISTIR 5632 (tables 3 and 4: tissues of ICRU Report 44).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter, zoom

ENERGIES = (20.0, 30.0, 40.0, 50.0, 60.0, 80.0, 100.0, 150.0)  # keV
COEFFICIENTS = {  # cm2/g at ENERGIES
    "soft": (0.8230, 0.3790, 0.2688, 0.2264, 0.2048, 0.1823, 0.1693, 0.1492),
    "lung": (0.8316, 0.3815, 0.2699, 0.2270, 0.2053, 0.1826, 0.1695, 0.1493),
    "fat": (0.5678, 0.3063, 0.2396, 0.2123, 0.1974, 0.1800, 0.1688, 0.1500),
    "bone": (4.001, 1.331, 0.6655, 0.4242, 0.3148, 0.2229, 0.1855, 0.1480),
    "metal": (25.68, 8.176, 3.629, 1.958, 1.205, 0.5952, 0.3717, 0.1964),  # iron
    "aluminium": (3.441, 1.128, 0.5685, 0.3681, 0.2778, 0.2018, 0.1704, 0.1378),
}
DENSITIES = {"soft": 1.06, "fat": 0.95, "bone": 1.92, "metal": 7.87, "aluminium": 2.70}  # g/cm3
MATERIALS = ("soft", "lung", "fat", "bone", "metal")
BINS = 8
THICK = np.log(4)  # attenuation from which on a body scatters its full share


@dataclass(frozen=True)
class Exposure:
    """How one image is taken. kvp in kV; filtration in mm of aluminium; photons per mm2 before the patient;
    scatter: scattered over primary signal behind the trunk; scatter_width, blur: standard deviations in mm."""

    kvp: float = 120.0
    filtration: float = 4.0
    photons: float = 2.0e5
    scatter: float = 0.35
    scatter_width: float = 45.0
    blur: float = 0.25


def attenuation(material: str, energy: np.ndarray | float) -> np.ndarray:
    """Mass attenuation coefficient at energies (keV), cm2/g; straight between the tabled values on logarithmic axes."""
    return np.exp(np.interp(np.log(energy), np.log(ENERGIES), np.log(COEFFICIENTS[material])))


def spectrum(kvp: float, filtration: float) -> tuple[np.ndarray, np.ndarray]:
    """Energies (keV) and their share of the signal of an energy-integrating detector, adding up to 1.

    Kramers (1923): the number of photons of energy E goes as (kVp - E) / E; then mm of aluminium filter them.
    """
    edges = np.linspace(20, kvp, BINS + 1)
    energy = (edges[:-1] + edges[1:]) / 2
    number = (kvp - energy) / energy
    number *= np.exp(-attenuation("aluminium", energy) * DENSITIES["aluminium"] * filtration / 10)
    return energy, number * energy / (number * energy).sum()


def transmission(masses: dict[str, np.ndarray], exposure: Exposure) -> np.ndarray:
    """Share of the signal that passes, Beer and Lambert's law summed over the spectrum.

    Shapes: masses[material] [H, W] in g/cm2 -> [H, W] float32.
    """
    shape = np.broadcast_shapes(*(np.shape(mass) for mass in masses.values()))
    passed = np.zeros(shape, dtype=np.float32)
    for energy, share in zip(*spectrum(exposure.kvp, exposure.filtration), strict=True):
        total = np.zeros(shape, dtype=np.float32)
        for material, mass in masses.items():
            total += np.float32(attenuation(material, energy)) * mass
        passed += np.float32(share) * np.exp(-total)
    return passed


def scattered(primary: np.ndarray, exposure: Exposure, pixel: float) -> np.ndarray:
    """Scatter as a blurred fraction of the primary signal where there is a body; open air scatters nothing.

    Shapes: [H, W] -> [H, W]; pixel in mm.
    """
    coarse = primary.reshape(primary.shape[0] // 8, 8, primary.shape[1] // 8, 8).mean((1, 3))
    coarse = coarse * np.clip(-np.log(np.maximum(coarse, 1e-6)) / THICK, 0, 1)
    spread = gaussian_filter(coarse, exposure.scatter_width / (8 * pixel), mode="nearest")
    return exposure.scatter * zoom(spread, 8, order=1, grid_mode=True, mode="nearest").astype(np.float32)


def detected(primary: np.ndarray, exposure: Exposure, pixel: float) -> np.ndarray:
    """Expected signal of the detector, 1 without patient: blurred, with scatter. Shapes: [H, W]; pixel in mm."""
    signal = gaussian_filter(primary, exposure.blur / pixel, mode="nearest", truncate=3) if exposure.blur else primary
    return (signal + scattered(primary, exposure, pixel)).astype(np.float32)


def noisy(signal: np.ndarray, exposure: Exposure, pixel: float, rng: np.random.Generator) -> np.ndarray:
    """A signal with quantum noise, the variance of its number of photons (Poisson). Shapes: [H, W]; pixel in mm."""
    mean = exposure.photons * pixel**2
    # Poisson counts of this size are Gaussian to better than a thousandth, and ten times faster to draw
    noise = rng.standard_normal(signal.shape, dtype=np.float32) * np.sqrt(signal / mean)
    return np.maximum(signal + noise, 1 / mean).astype(np.float32)

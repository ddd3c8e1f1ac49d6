"""Speed of the evaluation's figures, beside the usual way of computing the same ones. Run by `make bench`.

The usual way, written here as CheXGenBench and its kin have it: distances image by image or as whole N x N matrices by
scikit-learn, KID by subsets in a loop, the matrix root of an unsymmetric product. Both sides see the same vectors.
Ratios are of processor time, which other work on the machine does not change.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable

import numpy as np

COUNT, WIDTH = 10_000, 1024
SMALL = 5000  # images a side of the comparison
LOOPED = 200  # of them, for which the loop over images is timed; its time is proportional to their number
PROMISED_SECONDS, PROMISED_GIGABYTES, PROMISED_RATIO = 60, 2.0, 10
CORES = 2
K = 5


def vectors(count: int, seed: int, shift: float = 0.0) -> np.ndarray:
    """Correlated features, as networks give them."""
    rng = np.random.default_rng(seed)
    mix = np.random.default_rng(0).normal(size=(64, WIDTH)).astype(np.float32) / 8
    low = rng.normal(shift, 1, size=(count, 64)).astype(np.float32)
    return low @ mix + 0.3 * rng.normal(size=(count, WIDTH)).astype(np.float32)


def timed(work: Callable[[], object]) -> tuple[object, float, float]:
    """Result, processor seconds, wall seconds."""
    cpu, wall = time.process_time(), time.perf_counter()
    result = work()
    return result, time.process_time() - cpu, time.perf_counter() - wall


def ours(made: np.ndarray, real: np.ndarray) -> dict[str, float]:
    """The figures that both sides compute, by the suite's functions."""
    from gen.eval.kernels import cubic, discrepancies
    from gen.eval.manifold import manifold_coverage
    from gen.judges.frechet import frechet_distance
    from gen.judges.neighbours import nearest

    found = manifold_coverage(real, made, K)
    figures = {name: float(getattr(found, name).mean()) for name in ("precision", "recall", "density", "coverage")}
    figures["Frechet distance"] = frechet_distance(made, real)
    figures["KID"] = discrepancies(made, real, kernels={"KID": cubic})["KID"].value
    figures["nearest"] = float(nearest(made, real)[0][:LOOPED].mean())
    return figures


def usual(made: np.ndarray, real: np.ndarray) -> dict[str, float]:
    """The same figures the usual way."""
    from scipy.linalg import sqrtm
    from sklearn.metrics import pairwise_distances
    from sklearn.metrics.pairwise import polynomial_kernel

    within_real, within_made = (np.sort(pairwise_distances(part), axis=1)[:, K] for part in (real, made))
    across = pairwise_distances(real, made)
    figures = {
        "precision": (across < within_real[:, None]).any(0).mean(),
        "recall": (across < within_made[None]).any(1).mean(),
        "density": (across < within_real[:, None]).sum(0).mean() / K,
        "coverage": (across.min(1) < within_real).mean(),
    }
    a, b = (np.cov(part.astype(np.float64).T) for part in (made, real))
    means = np.square(made.mean(0, dtype=np.float64) - real.mean(0, dtype=np.float64)).sum()
    figures["Frechet distance"] = means + np.trace(a + b - 2 * np.real(sqrtm(a @ b)))
    xx, yy, xy = (polynomial_kernel(p, q, 3) for p, q in ((made, made), (real, real), (made, real)))
    off = lambda k: (k.sum() - np.trace(k)) / (len(k) * (len(k) - 1))  # noqa: E731
    figures["KID"] = off(xx.astype(np.float64)) + off(yy.astype(np.float64)) - 2 * xy.mean(dtype=np.float64)
    return {name: float(value) for name, value in figures.items()}


def image_by_image(made: np.ndarray, real: np.ndarray) -> float:
    """Mean distance to the nearest real vector, as privacy scripts have it."""
    return float(np.mean([min(np.linalg.norm(one - other) for other in real) for one in made]))


def compared() -> bool:
    """The two ways on the same smaller sets; False where the numbers or the promised ratio fail."""
    made, real = vectors(SMALL, 1, 0.2), vectors(SMALL, 2)
    new, fast, _ = timed(lambda: ours(made, real))
    old, slow, _ = timed(lambda: usual(made, real))
    old["nearest"], loop, _ = timed(lambda: image_by_image(made[:LOOPED], real))
    slow += loop * SMALL / LOOPED
    same = all(abs(new[name] - old[name]) <= 2e-3 * max(abs(old[name]), 1e-2) for name in old)
    print(f"{SMALL} x {SMALL} x {WIDTH}, the same seven figures: {fast:.1f} s against {slow:.1f} s the usual way")
    print(f"  {slow / fast:.0f} times faster (promised {PROMISED_RATIO}); the numbers {'agree' if same else 'DIFFER'}")
    if not same:
        print({name: (new[name], old[name]) for name in old})
    return same and slow >= PROMISED_RATIO * fast


def whole() -> bool:
    """Every fidelity figure with its interval at the promised size; False where time or memory fail."""
    from gen.eval.diversity import vendi_score
    from gen.eval.sets import Set, compare

    made, real = (Set(vectors(COUNT, seed, 0.1 * seed), np.arange(COUNT)) for seed in (1, 2))

    def work() -> dict:
        found = compare(made, real, np.random.default_rng(0))
        return found | {"Vendi score": vendi_score(made.vectors)}

    found, cpu, wall = timed(work)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{COUNT} x {COUNT} x {WIDTH}, {len(found)} figures with intervals:")
    cores, promise = f"{cpu / CORES:.0f} s on {CORES} cores", f"promised {PROMISED_SECONDS}"
    print(f"  {cpu:.0f} processor seconds, {cores} ({promise}); by the clock, at this machine's load, {wall:.0f} s")
    print(f"  {memory:.2f} GB at the peak (promised {PROMISED_GIGABYTES:g})")
    return cpu / CORES < PROMISED_SECONDS and memory < PROMISED_GIGABYTES


if __name__ == "__main__":
    # the large one first: peak memory never falls
    kept = [whole(), compared()]
    sys.exit(0 if all(kept) else 1)

"""Speed of bone suppression against the faithful GL-LCM sampler, at equal size and network in one run: a ratio.

python tests/bench_bone.py [MODEL]: the shipped bone model, or a folder.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import torch

from gen.calls.bone import diffusion_bones
from gen.calls.bone_dual import dual_softs
from gen.calls.bone_looks import LOOKS
from gen.calls.bone_paths import PathSettings
from gen.judges.lungs import LungSegmenter
from gen.pipeline import WEIGHTS, CXRPipeline

STEPS = 4


def seconds(call, repeats: int = 3) -> float:
    """The least of some process times."""
    best = float("inf")
    for _ in range(repeats):
        began = time.process_time()
        call()
        best = min(best, time.process_time() - began)
    return best


def ratio(pipeline: CXRPipeline, steps: int = STEPS, faithful: PathSettings | None = None) -> dict[str, float]:
    """Seconds an image of ours, of two paths in one batch, and of the faithful sampler, and the ratios."""
    torch.manual_seed(0)
    faithful = faithful or PathSettings()
    side = pipeline.config.resolution
    pixels = torch.rand(1, 1, side, side) * 2 - 1
    lungs = LungSegmenter.load().masks(pixels)[:, :1].clone()
    lungs[..., side // 4 : 3 * side // 4, side // 8 : 7 * side // 8] = 1
    image, model = pixels[0, 0].numpy() / 2 + 0.5, diffusion_bones(pipeline)
    ours = seconds(lambda: model.suppress(image, anyway=True, looks=len(LOOKS)))
    few = PathSettings(steps=steps)
    batched = seconds(lambda: dual_softs(pipeline, pixels, lungs, few))
    slow = seconds(lambda: dual_softs(pipeline, pixels, lungs, faithful, batched=False), repeats=1)
    return {
        "ours": ours,
        "two paths": batched,
        "faithful": slow,
        "ratio": slow / ours,
        "ratio of paths": slow / batched,
    }


def main(arguments: list[str]) -> None:
    """Print the table."""
    folder = Path(arguments[0]) if arguments else WEIGHTS / "bone_256"
    pipeline = CXRPipeline.from_pretrained(folder)
    found = ratio(pipeline)
    print(f"bone suppression at {pipeline.config.resolution} px, seconds of processor time an image")
    print(f"ours, {len(LOOKS)} looks of one call            {found['ours']:8.3f}")
    print(f"two paths in one batch, {STEPS} calls   {found['two paths']:8.3f}")
    print(f"faithful GL-LCM, 100 calls         {found['faithful']:8.3f}")
    print(f"faithful / ours {found['ratio']:.1f}, faithful / two paths {found['ratio of paths']:.1f}")


if __name__ == "__main__":
    main(sys.argv[1:])

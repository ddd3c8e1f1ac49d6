"""Held-out images of studies of several views: what is given of each, drawings of them, tables, strips, distances."""

from __future__ import annotations

import csv
import hashlib
import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gen.errors import UserError
from gen.files import replacing

from .given import JOIN, Given, draw_given

if TYPE_CHECKING:
    import pandas as pd

    from gen import CXRPipeline

RIGHT, WRONG, UNTURNED = "generated", "generated_wrong", "no_angle"
SHOWN = 8  # studies on the strips
FOLDER = "images"
TURNED = "UNKNOWN"  # the view of an image that only its angle describes


@dataclass(frozen=True)
class Target:
    """A real image, what is given of its study, and a study of the same views of another patient."""

    name: str
    image: str
    view: str
    prompt: str
    patient: str
    findings: str
    inverted: bool
    right: Given
    wrong: Given

    def given(self, kind: str) -> Given:
        """The right context, the wrong one, or so many images of the right one, or all without the angle."""
        if kind in (RIGHT, WRONG):
            return self.right if kind == RIGHT else self.wrong
        if kind == UNTURNED:
            return Given(self.right.study)
        return Given(self.right.study[: int(kind.rpartition("_")[2])], self.right.angle)

    def file(self, out: Path, kind: str) -> Path:
        """Where the drawing of a kind is."""
        return out / FOLDER / f"{self.name}_{kind}.png"


def targets_of(
    index: Path, split: str, views: Sequence[str], n: int, said: bool, seed: int, turned: bool = False
) -> list[Target]:
    """Images of studies of several views, of patients at random; a wrong context has the same views as the right one.

    Turned ones are asked for by their angle alone; what is wrong of them is the angle, which is another patient's.
    Errors: UserError where no two patients have the same views.
    """
    from gen.data.index import read_index
    from gen.tasks.view import ViewTask

    rows = ViewTask.rows(read_index(index, splits=split.split(",")))
    wanted = (rows["view"] == TURNED) & rows["angle"].notna() if turned else rows["view"].isin(views)
    rows = rows[(rows["context"] != "") & wanted]
    groups = [group for _, group in rows.groupby(["view", "context_view"]) if group["patient_id"].nunique() > 1]
    if not groups:
        remedy = "--split, and whether its column angle says anything" if turned else "--split, --views"
        raise UserError(f"{index}: no two patients of split {split!r} share several views; see {remedy}")
    rng = np.random.default_rng(seed)
    pairs = [pair for group in groups for pair in _exchanged(group, rng)]
    chosen = [pairs[number] for number in sorted(rng.permutation(len(pairs))[:n])]
    return [_turned(*pair, said) if turned else _target(*pair, said) for pair in chosen]


def fingerprint(targets: Sequence[Target]) -> str:
    """12 digits of which images are drawn, of what words, and of what is given besides."""
    said = [
        [target.name, target.prompt, *([Path(image).name, view] for image, view in given.study), given.angle]
        for target in targets
        for given in (target.right, target.wrong)
    ]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()[:12]


def draw_all(
    pipeline: CXRPipeline,
    targets: Sequence[Target],
    kinds: Sequence[str],
    out: Path,
    seed: int,
    steps: int | None,
    guidance: float | None,
    batch_size: int,
) -> None:
    """Draw what is not there yet; every kind of a target has the same seed."""
    from PIL import Image
    from tqdm import tqdm

    from gen.provenance import save_png

    steps = pipeline.config.steps if steps is None else steps
    guidance = pipeline.config.guidance if guidance is None else guidance
    wanted = [(number, target, kind) for number, target in enumerate(targets) for kind in kinds]
    wanted = [one for one in wanted if not one[1].file(out, one[2]).is_file()]
    (out / FOLDER).mkdir(parents=True, exist_ok=True)
    for first in tqdm(range(0, len(wanted), batch_size), desc="draw", unit="batch"):
        part = wanted[first : first + batch_size]
        given = [target.given(kind) for _, target, kind in part]
        prompts, seeds = [target.prompt for _, target, _ in part], [seed + number for number, _, _ in part]
        drawn = draw_given(pipeline, prompts, seeds, given, steps, guidance)
        for (_, target, kind), pixels, record in zip(part, drawn.images, drawn.records, strict=True):
            save_png(Image.fromarray(np.round(pixels * 255).astype(np.uint8)), record, target.file(out, kind))


def write_table(targets: Sequence[Target], out: Path, name: str, kind: str, wrong: str | None = None) -> None:
    """The table that `cxr-eval views` reads: one kind of drawing, if wanted with a wrong one beside it."""
    columns = ["context", "target", RIGHT, "view", "findings", "patient", *([WRONG] if wrong else [])]
    with replacing(out / name) as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        for target in targets:
            row = {"context": target.right.study[0][0], "target": target.image, RIGHT: target.file(out, kind)}
            row |= {WRONG: target.file(out, wrong)} if wrong else {}
            row = {column: os.path.relpath(path, out) for column, path in row.items()}
            writer.writerow(row | {"view": target.view, "findings": target.findings, "patient": target.patient})


def write_strips(targets: Sequence[Target], out: Path, model: str) -> None:
    """Context, drawing, truth, and the drawing from a wrong context, a target each, as strips.png."""
    from PIL import Image

    from gen.data.images import from_model, model_pixels

    from .contact import TILE, Group, contact_sheet

    groups = []
    for target in targets[:: math.ceil(len(targets) / SHOWN)]:
        files = [target.right.study[0][0], target.file(out, RIGHT), target.image, target.file(out, WRONG)]
        images = [Image.fromarray(from_model(model_pixels(str(file), TILE))) for file in files]
        given = ", ".join(map(_named, (view for _, view in target.right.study)))
        asked, other = target.view, "drawn from another patient's"
        if target.right.angle is not None:
            asked, other = f"at {target.right.angle:.0f} degrees", f"drawn at {target.wrong.angle:.0f} degrees"
        caption = f"given {given} (the first is shown) | drawn {asked} | truth | {other}"
        groups.append(Group(target.prompt, caption, images))
    sheet = contact_sheet(groups, "Views of held-out studies; drawings are synthetic", f"Model {model}.", columns=2)
    with replacing(out / "strips.png") as temporary:
        sheet.save(temporary, format="PNG", optimize=True)


def distances(targets: Sequence[Target], kinds: Sequence[str], out: Path, resolution: int) -> dict[str, dict]:
    """How far each kind is from the truth, mean absolute grey levels of 255, and how often the right one is nearer.

    Also written as distances.json.
    """
    from gen.data.images import model_pixels, prepare

    truth = [prepare(target.image, resolution, inverted=target.inverted) for target in targets]
    off = {}
    for kind in kinds:
        drawn = (model_pixels(str(target.file(out, kind)), resolution) for target in targets)
        off[kind] = np.array([127.5 * np.abs(one - real).mean() for one, real in zip(drawn, truth, strict=True)])
    found = {kind: {"difference": float(values.mean()), "images": len(targets)} for kind, values in off.items()}
    for kind in found.keys() - {RIGHT}:
        found[kind]["right_is_nearer"] = float(np.mean(off[RIGHT] < off[kind]))
    with replacing(out / "distances.json") as temporary:
        temporary.write_text(json.dumps(found, indent=1))
    return found


def told(found: dict[str, dict]) -> str:
    """Distances in words."""
    names = {RIGHT: "right context", WRONG: "another patient's context"}
    if UNTURNED in found:
        names = {RIGHT: "own angle", WRONG: "another patient's angle", UNTURNED: "no angle"}
    lines = ["mean absolute difference to the truth, grey levels of 255"]
    for kind, values in found.items():
        name = names.get(kind, f"{kind.rpartition('_')[2]} context images")
        nearer = f"; the {names[RIGHT]} is nearer in {values['right_is_nearer']:.0%}" if kind != RIGHT else ""
        lines.append(f"  {name}: {values['difference']:.2f} ({values['images']} images){nearer}")
    return "\n".join(lines)


def _exchanged(group: pd.DataFrame, rng: np.random.Generator) -> list[tuple[dict, dict]]:
    """Every row with a row of another patient: the next patient on a ring in random order."""
    rows = group.to_dict("records")
    patients = list(rng.permutation(sorted(group["patient_id"].unique())))
    first = {row["patient_id"]: row for row in reversed(rows)}
    following = dict(zip(patients, [*patients[1:], patients[0]], strict=True))
    return [(row, first[following[row["patient_id"]]]) for row in rows]


def _named(view: str) -> str:
    """A view, or an angle to the degree."""
    return f"{float(view):.0f} degrees" if view[-1:].isdigit() else view or TURNED


def _seen_from(row: dict) -> list[str]:
    """Views of the context images, angles in place of those that are none."""
    cells = (row[f"context_{name}"].split(JOIN) for name in ("view", "angle"))
    return [turn if view == TURNED and turn else view for view, turn in zip(*cells, strict=True)]


def _turned(row: dict, other: dict, said: bool) -> Target:
    one = _target(row, row, said)
    right, wrong = (replace(one.right, angle=float(of["angle"])) for of in (row, other))
    return replace(one, right=right, wrong=wrong)


def _target(row: dict, other: dict, said: bool) -> Target:
    from gen.data.prompts import prompt_from_row

    given, wrong = (Given(tuple(zip(one["context"].split(JOIN), _seen_from(one), strict=True))) for one in (row, other))
    prompt = prompt_from_row(row if said else {"view": row["view"]})
    name = Path(row["image"]).stem
    inverted = bool(row.get("inverted", False))
    findings = row.get("findings", "")
    return Target(name, row["image"], row["view"], prompt, row["patient_id"], findings, inverted, given, wrong)

"""One evaluation from its options: inputs read and checked, networks loaded, parts measured, page written."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from gen.errors import UserError
from gen.files import replacing

from .context import Context
from .features import checksums, read_pixels
from .inputs import (
    LOOK_SIDE,
    check_files,
    check_looks,
    check_numbers,
    check_sizes,
    check_training,
    manifest_of,
    read_real,
    read_synthetic,
)
from .networks import load_network
from .section import NotMeasurable, Section, Verdict

PAGE, METRICS = "report.html", "metrics.json"
SHOWN = 400  # images looked at for inversion and blankness


@dataclass(frozen=True)
class Options:
    """What a user asks of an evaluation."""

    real: Path
    synthetic: Path
    out: Path
    networks: tuple[str, ...] = ("reader",)
    reference: str = "test"
    trained_on: Path | None = None
    model: str | None = None
    cache: Path | None = None
    seed: int = 0
    workers: int = 0
    readers: tuple[str, ...] = ("reader",)
    image_text: str | None = None
    lungs: Path | None = None
    reidentifier: Path | None = None
    share: bool = False


def prepare(options: Options) -> tuple[Context, dict]:
    """The checked inputs as a context, and the record of what they were.

    Errors: UserError for leaking splits, real files among the synthetic, too few, unreadable or inverted images.
    """
    real = read_real(options.real, options.reference)
    synthetic = read_synthetic(options.synthetic)
    check_numbers(synthetic, options.synthetic)
    trained_on = real if options.trained_on is None else read_real(options.trained_on, "train")
    check_training(trained_on, real, options.reference, options.trained_on or options.real)
    size = check_sizes(synthetic, options.synthetic)
    if options.trained_on is not None:  # what may have been copied is what was trained on
        real = _with_training(real, trained_on)
    keys = checksums(real)
    check_files(real, keys, options.reference, set(synthetic["image"]), options.synthetic)
    networks = [load_network(name) for name in options.networks]
    context = Context(
        real=real,
        synthetic=synthetic,
        networks=networks,
        out=options.out,
        cache=options.cache or options.out / "cache",
        seed=options.seed,
        reference_split=options.reference,
        model=options.model,
        workers=options.workers,
        readers=options.readers,
        image_text=options.image_text,
        lungs=options.lungs,
        reidentifier=options.reidentifier,
        share=options.share,
        real_index=options.real,
        synthetic_index=manifest_of(options.synthetic),
    )
    remarks = [network.remark for network in networks] + _looks(context, options)
    return context, _record(context, options, keys, size, remarks)


def measure(context: Context, parts: Sequence[str]) -> list[Section]:
    """Run the parts, in order; each is the module of that name with `measure(context) -> Section`.

    A part for which the data do not suffice stands in a whole report with the reason, so that the others are not lost.
    Errors: UserError for whatever else a part refuses, and for that too where it is the only part.
    """
    sections = []
    for part in parts:
        context.say(f"{part} ...")
        try:
            sections.append(import_module(f".{part}", __package__).measure(context))
        except NotMeasurable as error:
            if len(parts) == 1:
                raise
            why = Verdict("unclear", f"{part.capitalize()} was not measured: {error}.")
            sections.append(Section(part, part.capitalize(), verdicts=[why], notes=[why.text]))
    return sections


def write(context: Context, record: dict, sections: Sequence[Section]) -> tuple[Path, Path]:
    """Write the page and metrics.json; returns their paths."""
    from .report import render

    metrics = {"record": record, "sections": {section.key: section.to_json() for section in sections}}
    page = render(record, sections)
    try:
        context.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--out {context.out}: cannot be a folder ({error.strerror}); give another") from None
    with replacing(context.out / METRICS) as temporary:
        temporary.write_text(json.dumps(metrics, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    with replacing(context.out / PAGE) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return context.out / PAGE, context.out / METRICS


def _with_training(real, trained_on):
    import pandas as pd

    rest = real[real["split"] != "train"]
    train = trained_on[(trained_on["split"] == "train") & ~trained_on["image"].isin(rest["image"])]
    return pd.concat([rest, train], ignore_index=True)


def _looks(context: Context, options: Options) -> list[str]:
    small = read_pixels(context.synthetic, LOOK_SIDE, context.workers)
    real = context.pixels(context.reference.head(SHOWN), LOOK_SIDE)
    return check_looks(small, real, context.synthetic, options.synthetic)


def _record(context: Context, options: Options, keys: Sequence[str], size: tuple[int, int], remarks: list[str]) -> dict:
    """Fingerprints of every input, so that a number can be traced; paths of this machine stay out."""
    from gen import __version__
    from gen.data.index import fingerprint as index_fingerprint
    from gen.data.moments import fingerprint

    models = context.synthetic.get("model_hash", [])
    return {
        "version": __version__,
        "seed": context.seed,
        "reference_split": options.reference,
        "real": {"name": options.real.name, "index": index_fingerprint(context.real)[:16], "files": fingerprint(keys)},
        "synthetic": {
            "name": options.synthetic.name,
            "files": fingerprint(checksums(context.synthetic)),
            "models": sorted(set(map(str, models))),
            "size": list(size),
        },
        "networks": [
            {"name": Path(n.name).name, "fingerprint": n.fingerprint, "standing": n.standing} for n in context.networks
        ],
        "counts": {
            "synthetic": len(context.synthetic),
            "reference": len(context.reference),
            "train": len(context.train),
            "prompts": int(context.synthetic["prompt"].nunique()),
        },
        "remarks": remarks,
    }

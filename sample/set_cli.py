"""cxr-sample run, verify, index: sets from a plan."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from .gating import NAMES, parse_gating
from .models import Compiled, InDtype, LowMemory, OfAttention, OnDevice, Revision
from .split import among_processes, parse_shard
from .store import Folder, Store, open_store
from .writers import Format, check_format

if TYPE_CHECKING:
    from .verify import Proof

# tables take most of a second to import, so the functions that need them import them
Out = Annotated[str, typer.Option(help="folder, or an address such as s3://bucket/set; the same command goes on")]


def run(
    plan: Annotated[Path, typer.Argument(help="plan made by cxr-sample plan")],
    out: Out,
    model: Annotated[str | None, typer.Option(help="model folder or hub id; the shipped model if left out")] = None,
    revision: Revision = None,
    format_: Annotated[Format, typer.Option("--format", help="file format")] = "png",
    shard: Annotated[str, typer.Option(help="this worker's share, K/N from 1/N to N/N")] = "1/1",
    steps: Annotated[int | None, typer.Option(min=1, help="sampling steps; the model's own if left out")] = None,
    guidance: Annotated[float | None, typer.Option(min=0, help="how closely to follow the prompt")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="images drawn at once; part of what decides their bits")] = 8,
    max_tries: Annotated[int, typer.Option(min=1, help="drawings of an image that gates reject")] = 4,
    per_file: Annotated[int, typer.Option(min=1, help="images a tar or Parquet file")] = 1000,
    device: OnDevice = "auto",
    dtype: InDtype = "auto",
    attention: OfAttention = "sdpa",
    compiled: Compiled = "off",
    low_memory: LowMemory = False,
    gates: Annotated[str, typer.Option(help=f"what drawings have to pass, of {', '.join(NAMES)}; a,b,c")] = "",
    thresholds: Annotated[Path | None, typer.Option(help="YAML of the gates' thresholds")] = None,
    train_index: Annotated[Path | None, typer.Option(help="index the model was trained on, for memory gates")] = None,
    recheck: Annotated[bool, typer.Option(help="read every file again and draw the damaged ones anew")] = False,
    wandb: Annotated[str | None, typer.Option(help="project to log figures to")] = None,
    engine: Annotated[Literal["local", "ray"], typer.Option(help="this process, or tasks of a Ray cluster")] = "local",
    workers: Annotated[int | None, typer.Option(min=1, help="shards for --engine ray")] = None,
) -> None:
    """Draw a plan, or a shard of it, into a folder; any number of processes and machines may share one.

    What a gate rejects is kept aside with the reason and drawn again with the next seed, up to --max-tries. The gate
    duplicates compares the whole set when all of it is drawn: an image that is the same picture as one before it in the
    plan is rejected. Whatever the split and however often it is stopped, the set is the same.
    """
    from .engines import Assignment, carry_out, carry_out_with_ray
    from .job import Order

    check_format(format_)
    gating = parse_gating(gates, thresholds, train_index)
    order = Order(format_, steps, guidance, batch_size, max_tries, gating, per_file, wandb, recheck)
    work = Assignment(plan.absolute(), out, order, model, revision, device, dtype, attention, compiled, low_memory)
    if engine == "ray":
        what, outcome = "the plan", carry_out_with_ray(work, workers)
    else:
        mine = among_processes(parse_shard(shard))
        what, outcome = f"shard {mine}", carry_out(work, mine)
    typer.echo(f"{outcome.done} of {outcome.total} images of {what} are in {out}")
    if outcome.complete and gating.names:
        from .rejections import told

        typer.echo(told(open_store(out)))
    if "duplicates" in gating.names and not outcome.complete:
        typer.echo("duplicates: the worker that ends last compares all images; so does this command without --shard")
    if outcome.complete:
        typer.echo(f"the set is complete: prove it with cxr-sample verify {out}")


def verify(
    out: Annotated[str, typer.Argument(help="folder or address of a set")],
    plan: Annotated[Path | None, typer.Argument(help="its plan; the copy in the folder if left out")] = None,
    similar: Annotated[bool, typer.Option(help="also look for images that are the same picture")] = True,
) -> None:
    """Prove that a set is whole: every id once, every checksum right. Exit code 1 if it is not.

    Also says which images are the same picture, whether that happens to different prompts, and what the gates rejected.
    """
    from .plan import read_plan
    from .rejections import told
    from .resume import gates_of, stored_plan
    from .verify import verify as prove

    store = open_store(out)
    proof = prove(store, stored_plan(store) if plan is None else read_plan(plan))
    typer.echo(_told(proof))
    if proof.wrong:
        raise typer.Exit(1)
    gates, repeats = gates_of(store), similar and _told_similar(store)
    if gates:
        typer.echo(told(store))
    if repeats and "duplicates" in gates:
        typer.echo("NOT whole: the gate duplicates has not compared these images; run the same command again")
        raise typer.Exit(1)


def calibrate(
    index: Annotated[Path, typer.Option(help="index of real radiographs; its val and test splits are read")],
    out: Annotated[Path, typer.Option(help="YAML to write, for cxr-sample run --thresholds")],
    keep: Annotated[float, typer.Option(min=0.5, max=1, help="share of real radiographs that a gate lets pass")] = 0.95,
    reader: Annotated[Path | None, typer.Option(help="reader's folder; the shipped one if left out")] = None,
) -> None:
    """Set the thresholds of the view, demographics and labels gates on real radiographs."""
    from gen.data.summary import aligned_left
    from gen.judges.reader import Reader

    from .calibration import calibrate as set_thresholds
    from .calibration import write_thresholds

    thresholds, lines = set_thresholds(Reader.load(reader), index, keep)
    write_thresholds(thresholds, out)
    typer.echo(f"{aligned_left(lines)}\nwrote {out}")


def index(
    out: Annotated[Path, typer.Argument(help="folder of a set")],
    index_out: Annotated[Path, typer.Option("--out", help="Parquet or CSV file to write")],
    may_ship: Annotated[bool, typer.Option("--may-ship", help="the licences behind the model allow copies")] = False,
    validation: Annotated[float, typer.Option(min=0, max=0.9, help="share of patients in the split val")] = 0.1,
    seed: Annotated[int, typer.Option(help="of the split")] = 0,
) -> None:
    """Turn a set's accepted images into an index, to train on like any other (Privacy Distillation, for one)."""
    from .harvest import write_harvest

    count = write_harvest(Folder(out), index_out, may_ship, validation, seed)
    typer.echo(f"{count} synthetic radiographs are in {index_out}; train on them with data.index={index_out}")


def _told_similar(store: Store) -> bool:
    """Say which images are the same picture, and return whether any are."""
    from .similar import find_similar

    found = find_similar(store)
    typer.echo(found.told())
    return bool(found.duplicates or found.collapsed)


def _told(proof: Proof) -> str:
    lines = [*proof.problems]
    if proof.wrong > len(lines):
        lines.append(f"... and {proof.wrong - len(lines)} more")
    counts = f"{proof.planned} planned, {proof.accepted} drawn, {proof.given_up} given up, {proof.rejected} rejected"
    asides = [f"{proof.strays} image files without a row"] * bool(proof.strays)
    asides += [f"{proof.leftovers} temporary files"] * bool(proof.leftovers)
    ends = f" ({', '.join(asides)}: of processes that were killed, not part of the set)" if asides else ""
    return "\n".join([*lines, f"{counts}; {'NOT whole' if proof.wrong else 'whole'}{ends}"])

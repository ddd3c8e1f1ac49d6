"""What a run leaves on disk: `state/` to resume from and `export/` to use."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import torch
import yaml
from accelerate import Accelerator
from pydantic import ValidationError
from safetensors import SafetensorError

from gen.config import changed_fields, parse_yaml, save_config
from gen.engine.placement import Placement
from gen.errors import UserError
from gen.schema import Strict

KEPT_STATES = 2
WRITE_FAILED = ("PytorchStreamWriter", "inline_container", "iostream error")  # torch.save's words for it


def claim_run(run: Path, config: Strict, data: str) -> None:
    """Write the resolved config into a new run folder, or refuse to resume a run that trains something else.

    No other process may train into the folder until this one ends. `data` is the fingerprint of the training images:
    their order follows from their number and names.
    """
    run.mkdir(parents=True, exist_ok=True)
    _keep_others_out(run)
    path, seen = run / "config.yaml", run / "data.txt"
    if path.is_file():
        changed = changed_fields(_as_of_today(_started_with(path), config), config.model_dump(mode="json"))
        if changed:
            raise UserError(
                f"{path}: the run was started with other values of {', '.join(changed)}; choose another run="
            )
    if seen.is_file() and seen.read_text() != data:
        raise UserError(
            f"{run}: the training images are not those it began with; restore the index or choose another run="
        )
    save_config(config, path)
    seen.write_text(data)


def _keep_others_out(run: Path) -> None:
    """Lock a run folder until the process ends, however it ends; where the file system knows no locks, nothing."""
    import fcntl

    descriptor = os.open(run / ".lock", os.O_RDWR | os.O_CREAT, 0o644)  # never closed: that would end the lock
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        os.close(descriptor)
        raise UserError(
            f"{run}: another process is training here; wait until it has ended, or choose another run="
        ) from None
    except OSError:
        os.close(descriptor)


def _started_with(path: Path) -> dict:
    """The config that a run was started with."""
    try:
        values = parse_yaml(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        values = str(error).splitlines()[0]
    if not isinstance(values, dict):
        raise UserError(f"{path}: damaged ({str(values)[:100]}); restore it or choose another run=")
    return values


def _as_of_today(values: dict, config: Strict) -> dict:
    """Settings of an earlier release with the fields that came since at their defaults, where they are valid now."""
    try:
        return type(config).model_validate(values).model_dump(mode="json")
    except ValidationError:
        return values


def states(run: Path) -> list[Path]:
    """Complete saved states, oldest first."""
    found = [path for path in (run / "state").glob("step-*") if (path / "progress.json").is_file()]
    return sorted(found, key=lambda path: int(path.name.removeprefix("step-")))


def save_state(accelerator: Accelerator, placed: Placement, run: Path, progress: dict) -> None:
    """Save everything needed to go on, under a temporary name until it is complete; keep the last two."""
    final = run / "state" / f"step-{progress['step']}"
    temporary = final.with_name(f"partial-{progress['step']}")
    if accelerator.is_main_process:
        shutil.rmtree(temporary, ignore_errors=True)
    accelerator.wait_for_everyone()
    try:
        placed.save(temporary)
        if accelerator.is_main_process:
            (temporary / "progress.json").write_text(json.dumps(progress))
    except (OSError, RuntimeError, SafetensorError) as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if isinstance(error, RuntimeError) and not any(words in str(error) for words in WRITE_FAILED):
            raise
        # each library has its own type and words for a full disk
        raise UserError(
            f"{final}: cannot save the state ({str(error).splitlines()[0]}); make room on the disk, then run the same "
            "command to go on from the state before"
        ) from error
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        shutil.rmtree(final, ignore_errors=True)
        os.replace(temporary, final)
        for old in states(run)[:-KEPT_STATES]:
            shutil.rmtree(old)


def load_latest(placed: Placement, run: Path) -> dict:
    """Load the newest state and return its progress; a new run starts at step 0."""
    found = states(run)
    if not found:
        return {"step": 0, "seconds": 0.0}
    try:
        progress = json.loads((found[-1] / "progress.json").read_text())
        progress = {"step": int(progress["step"]), "seconds": float(progress["seconds"])}
        placed.load(found[-1])
    except (torch.OutOfMemoryError, UserError):
        raise
    except Exception as error:  # accelerate, safetensors, torch and json each have their own types
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{found[-1]}: damaged state ({reason}); delete it to go on from the one before") from None
    return progress


def replace_folder(final: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a temporary folder, then put it in place of `final`: never a half-written export."""
    temporary = final.with_name(f"{final.name}.partial")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        write(temporary)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    shutil.rmtree(final, ignore_errors=True)
    os.replace(temporary, final)

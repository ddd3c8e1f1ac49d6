"""What one running page holds: models by task, loaded when first asked for, and a folder that goes when it stops."""

from __future__ import annotations

import json
import os
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from gen.errors import UserError

if TYPE_CHECKING:
    from gen.pipeline import CXRPipeline


@dataclass
class Session:
    """Models (a folder or hub id a task), the training index if one was given, and where files of this page go."""

    models: dict[str, str]
    folder: Path
    index: Path | None = None
    device: str = "cpu"
    shared: bool = False  # others than whoever started it may be looking
    _loaded: dict[str, CXRPipeline] = field(default_factory=dict, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def pipeline(self, task: str) -> CXRPipeline:
        """The model of a task, loaded once."""
        with self._lock:
            if task not in self._loaded:
                self._loaded[task] = _load(self.models[task], self.device, task)
            return self._loaded[task]

    def new_folder(self, name: str) -> Path:
        """An empty folder for one answer's files."""
        return Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self.folder))


@contextmanager
def open_session(models: Sequence[str], index: Path | None, device: str, shared: bool = False) -> Iterator[Session]:
    """A session around the shipped models, or those given in their tasks' place.

    Errors: UserError for a model or an index that cannot be read, and a GPU that is not there.
    """
    from gen.data.index import read_index

    if index is not None:
        read_index(index, splits=["train"])  # says now what is wrong with it
    found = shipped_models() | {task: model for model in models for task in [_task(model)]}
    with tempfile.TemporaryDirectory(prefix="cxr-app-") as folder:
        os.environ["GRADIO_TEMP_DIR"] = str(Path(folder) / "served")  # uploads go with the page too
        yield Session(found, Path(folder), index, _device(device), shared)


def shipped_models() -> dict[str, str]:
    """The folder of each task that comes with the package; of several for a task, the pipeline's own default."""
    from gen.pipeline import DEFAULT_MODEL, WEIGHTS

    folders = sorted(path.parent for path in WEIGHTS.glob("*/model_index.json"))
    return {_task(str(folder)): str(folder) for folder in [*folders, DEFAULT_MODEL]}


def _task(model: str) -> str:
    index = Path(model) / "model_index.json"
    if not index.is_file():
        if Path(model).is_dir():
            raise UserError(f"--model {model}: not a model folder (model_index.json is missing)")
        return _load(model, "cpu").config.task  # a hub id
    try:
        return str(json.loads(index.read_text()).get("task", "text"))
    except (ValueError, AttributeError):
        raise UserError(f"{index}: not readable JSON; fetch the model folder again") from None


def _device(wanted: str) -> str:
    import torch

    if wanted == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: no usable GPU here; use --device cpu")
    return wanted if wanted != "auto" else "cuda" if torch.cuda.is_available() else "cpu"


def _load(model: str, device: str, task: str = "text") -> CXRPipeline:
    from gen.models.speed import fastest_dtype
    from gen.pipeline import CXRPipeline

    dtype = fastest_dtype(device, difference=task == "bone")
    return CXRPipeline.from_pretrained(model, torch_dtype=dtype).to(device)

"""The record that every synthetic file carries, and writing files that carry it."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from gen.errors import UserError
from gen.files import replacing

LEVEL = 4  # of deflate: on radiographs as small as the usual 6, in half its time
RECORD_KEY = "cxr-gen"
NOTICE = "SYNTHETIC chest radiograph, not a patient; not for diagnosis"


@dataclass(frozen=True)
class SynthesisRecord:
    """How one image came about: enough to make it again."""

    prompt: str
    seed: int
    steps: int
    guidance: float
    scheduler: str
    model: str
    model_hash: str
    task: str = "text"
    view: str = ""
    sex: str = ""
    age: float | None = None
    findings: str = ""
    given: str = ""  # what it was drawn from besides the prompt
    version: str = ""
    synthetic: bool = True
    notice: str = NOTICE

    def to_json(self) -> str:
        """The record as one line of JSON."""
        return json.dumps(vars(self))  # flat, and `asdict` would copy every value deeply


def save_png(image: Image.Image, record: SynthesisRecord, path: Path) -> None:
    """Write a grey PNG with its record in a text chunk; complete under its name or not there at all."""
    with replacing(path) as temporary:
        temporary.write_bytes(png_bytes(image, record))


def png_bytes(image: Image.Image, record: SynthesisRecord) -> bytes:
    """A PNG file's bytes, of 8 or 16 bits as the image has, with the record in a text chunk."""
    info, file = PngInfo(), io.BytesIO()
    info.add_itxt(RECORD_KEY, record.to_json())
    info.add_text("Comment", record.notice)
    image.save(file, format="PNG", pnginfo=info, compress_level=LEVEL)
    return file.getvalue()


def read_record(path: Path | IO[bytes]) -> SynthesisRecord | None:
    """The record of a PNG written by this package, or None.

    Errors: UserError for no image, or a record that is damaged or of another version.
    """
    try:
        with Image.open(path) as image:
            text = image.text.get(RECORD_KEY) if hasattr(image, "text") else None
        return SynthesisRecord(**json.loads(text)) if text else None
    except (OSError, SyntaxError, ValueError, TypeError, RecursionError, Image.DecompressionBombError) as error:
        raise UserError(f"{path}: its record cannot be read ({str(error)[:200]}); draw the image again") from None

"""What decides the images of a folder, written down beside them: the same command goes on, another one is refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from gen.errors import UserError
from gen.files import replacing


def claim(path: Path, settings: Mapping[str, str | int | float | None]) -> None:
    """Write settings into a file of a folder. Errors: UserError for a folder that was begun with others."""
    if path.is_file():
        found = json.loads(path.read_text())
        for name, value in settings.items():
            if found.get(name) != value:
                held = f"{path.parent}: holds images of {name} {found.get(name)!r}, not {value!r}"
                raise UserError(f"{held}; give another --out")
        return
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(dict(settings)))

"""Pages that are read off the code: commands' helps, settings, a line a file. `python docs/generate.py` writes them.

tests/test_docs.py fails where a page in docs/ is no longer what this writes.
"""

from __future__ import annotations

import ast
import re
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal, Union, get_args, get_origin

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo

ROOT = Path(__file__).parents[1]
PAGES = ROOT / "docs" / "pages"
WIDTH = 100  # characters of help


def pages() -> dict[Path, str]:
    """Every generated page by its path below docs/pages."""
    return {Path("commands") / f"{name}.txt": help_page(name, app) for name, app in programs().items()} | {
        Path("settings.md"): settings_page(),
        Path("map.md"): map_page(),
    }


# ---- commands -----------------------------------------------------------------------------------------------


def programs() -> dict[str, typer.Typer]:
    """The console scripts."""
    from gen.app.cli import app as page
    from gen.eval.cli import app as evaluate
    from gen.phantom.cli import app as index
    from gen.sample.cli import app as sample

    return {"cxr-app": page, "cxr-eval": evaluate, "cxr-index": index, "cxr-sample": sample}


def help_page(name: str, app: typer.Typer) -> str:
    """The help of a program and of each of its commands, as plain text of a fixed width."""
    command = typer.main.get_command(app)
    nested = getattr(command, "commands", {})
    texts = [_help(command, name), *(_help(one, f"{name} {word}") for word, one in nested.items())]
    return "\n\n".join(f"$ {called} --help\n\n{text}" for called, text in texts) + "\n"


def _help(command, called: str) -> tuple[str, str]:
    command.rich_markup_mode = None  # plain text, the same whatever draws boxes around it
    context = command.make_context(called, [], resilient_parsing=True, terminal_width=WIDTH, max_content_width=WIDTH)
    return called, "\n".join(line.rstrip() for line in command.get_help(context).splitlines())


# ---- settings -----------------------------------------------------------------------------------------------


def jobs() -> dict[str, type[BaseModel]]:
    """Job by job what its YAML holds."""
    from gen.engine.bones import BoneRegressionJob
    from gen.engine.classification import ClassifierJob
    from gen.engine.contrastive import ContrastiveJob
    from gen.engine.distillation import DistillationJob
    from gen.engine.first_views import FirstViewJob
    from gen.engine.reidentification import ReidentificationJob
    from gen.engine.segmentation import SegmenterJob
    from gen.engine.study_codes import StudyCodeJob
    from gen.eval.utility_plan import UtilityConfig
    from gen.schema import CodecJob, EncodeJob, LatentJob, TextEncoderJob

    return {
        "train/vae.py": CodecJob,
        "train/encode.py": EncodeJob,
        "train/text.py": TextEncoderJob,
        "train/ldm.py": LatentJob,
        "train/lcm.py": DistillationJob,
        "train/classifier.py": ClassifierJob,
        "train/segmenter.py": SegmenterJob,
        "train/contrastive.py": ContrastiveJob,
        "train/reidentify.py": ReidentificationJob,
        "train/study_code.py": StudyCodeJob,
        "train/first_view.py": FirstViewJob,
        "train/bone_regression.py": BoneRegressionJob,
        "cxr-eval utility": UtilityConfig,
    }


def settings_page() -> str:
    """A table a job and a table a section."""
    lines = ["# Every setting", ""]
    lines += ["Read off `gen.schema`; a recipe is a YAML file of these keys, and `key.path=value` behind a command"]
    lines += [
        "sets any of them. Unknown keys are refused. **Required** means that nothing stands in for it: numbers that"
    ]
    lines += ["define a result have no hidden default.", ""]
    sections: list[type[BaseModel]] = []
    for job, model in jobs().items():
        lines += [f"## {job}", "", *_table(model, sections), ""]
    told: list[type[BaseModel]] = []
    while left := [model for model in sections if model not in told]:  # sections within sections
        told.append(left[0])
        lines += [f"## {_title(left[0])}", "", (left[0].__doc__ or "").strip(), "", *_table(left[0], sections), ""]
    return "\n".join(lines).rstrip() + "\n"


def _table(model: type[BaseModel], sections: list[type[BaseModel]]) -> list[str]:
    rows = ["| key | values | default | meaning |", "|---|---|---|---|"]
    for name, field in model.model_fields.items():
        sections += [part for part in _models(field.annotation) if part not in sections]
        cells = (f"`{name}`", _values(field), _default(field), _meaning(field))
        rows.append("| " + " | ".join(cells) + " |")
    return rows


def _title(section: type[BaseModel]) -> str:
    """A section's name, with its module where gen.schema has another of that name."""
    from gen import schema

    if getattr(schema, section.__name__, section) is section:
        return section.__name__
    return f"{section.__name__} of {section.__module__.rpartition('.')[2]}"


def _models(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)


def _values(field: FieldInfo) -> str:
    bounds = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤"}
    said = [f"{sign} {getattr(m, name)}" for m in field.metadata for name, sign in bounds.items() if hasattr(m, name)]
    return ", ".join([_type(field.annotation), *said])


def _type(annotation: object) -> str:
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type(parts[0])
    if origin is Literal:
        return " or ".join(f"`{part}`" for part in parts)
    if origin in (Union, types.UnionType):
        return " or ".join(_type(part) for part in parts)
    if origin is tuple:
        return f"list of {_type(parts[0])}"
    if annotation is type(None):
        return "`null`"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return f"[section](#{_title(annotation).lower().replace(' ', '-')})"
    return {"str": "text", "int": "whole number", "float": "number", "bool": "true or false", "Path": "path"}.get(
        getattr(annotation, "__name__", ""), str(annotation)
    )


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "**required**"
    value = field.default
    if isinstance(value, tuple):
        return f"`[{', '.join(map(str, value))}]`"
    return f"`{str(value).lower() if isinstance(value, bool) else 'null' if value is None else value}`"


def _meaning(field: FieldInfo) -> str:
    said = field.description or next(((model.__doc__ or "").strip() for model in _models(field.annotation)), "")
    return said.splitlines()[0].replace("|", "/") if said else ""


# ---- map ----------------------------------------------------------------------------------------------------

SENTENCE = re.compile(r"(?<!Nat)(?<!Biomed)(?<!\.\.)\. (?=[A-Z`(])")
COMMAND = ("accelerate launch", "train/", "ACCELERATE_", "On machine")
MAPPED = ("gen", "train", "sample", "eval", "configs", "notebooks", "docs")


def map_page() -> str:
    """A table a folder and a line a file: the first of a module's docstring, or of what a recipe says it makes."""
    lines = ["# A line a file", "", "Read off the files themselves; tests/ mirrors gen/.", ""]
    for top in MAPPED:
        folders = sorted({path.parent for path in (ROOT / top).rglob("*") if path.suffix in SAID})
        for folder in folders:
            rows = [
                (path, SAID[path.suffix](path.read_text("utf-8")))
                for path in sorted(folder.iterdir())
                if path.suffix in SAID
            ]
            rows = [f"| `{path.name}` | {said} |" for path, said in rows if said]
            if rows:
                lines += [f"## {folder.relative_to(ROOT)}/", "", "| file | what it is |", "|---|---|", *rows, ""]
    return "\n".join(lines).rstrip() + "\n"


def _module_line(text: str) -> str:
    said = ast.get_docstring(ast.parse(text)) or ""
    return _cell(said.split("\n\n")[0])


def _recipe_line(text: str) -> str:
    """The first sentence of a recipe's opening comment, behind its command."""
    comment = [line.removeprefix("#").strip() for line in text.splitlines() if line.startswith("#")]
    said = [line for line in comment if not line.startswith(COMMAND)]
    return _cell(SENTENCE.split(" ".join(said))[0])


def _cell(said: str) -> str:
    return " ".join(said.split()).replace("|", "/").rstrip(".")


SAID = {".py": _module_line, ".yaml": _recipe_line}


def main() -> None:
    """Write the pages."""
    for path, text in pages().items():
        (PAGES / path).parent.mkdir(parents=True, exist_ok=True)
        (PAGES / path).write_text(text, encoding="utf-8")
        print(f"wrote docs/pages/{path}", file=sys.stderr)


if __name__ == "__main__":
    main()

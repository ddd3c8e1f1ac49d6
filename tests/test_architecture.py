"""The rules that keep the tree a picture one can draw from memory (CONTRIBUTING.md), read off the syntax trees."""

import ast
import statistics
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = ("gen", "train", "sample", "eval")
STOREYS = (
    ("errors", "files", "schema", "choices", "examples"),
    ("config", "provenance"),
    ("seeds", "schedulers"),
    ("models", "data", "objectives"),
    ("tasks", "phantom", "judges", "sampler"),
    ("calls",),
    ("pipeline",),
    ("engine", "app"),  # a page draws and judges; what evaluates it asks of the cxr-eval command
)
FLOORS = {room: floor for floor, rooms in enumerate(STOREYS) for room in rooms}
REEXPORTS = {"CXRPipeline": "pipeline", "load_config": "config", "__version__": None}
LATE = {
    "xformers",
    "wandb",
    "open_clip",
    "torchxrayvision",
    "pydicom",
    "gradio",
    "starlette",
    "peft",
    "matplotlib",
    "ray",
    "timm",
    "datasets",
    "torchao",
}
PICKLES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
UNSAFE = {"trust_remote_code", "allow_pickle"}
FLIPS = {"hflip", "horizontal_flip", "RandomHorizontalFlip", "fliplr", "FLIP_LEFT_RIGHT", "mirror"}
VAGUE = {"utils", "util", "helpers", "misc", "common"}
NOT_IN_TRAIN = {"datasets", "evaluate", "gradio", "peft", "ray", "wandb", "xformers"}

FILES = sorted(path.relative_to(ROOT) for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
TREES = {path: ast.parse((ROOT / path).read_text()) for path in FILES}
every_file = pytest.mark.parametrize("path", FILES, ids=str)


def imported(node: ast.AST) -> Iterator[str]:
    """Dotted names that an import statement asks for; a relative one keeps its dots."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = "." * node.level + (node.module or "")
        yield from (f"{base}.{alias.name}" if node.module else base + alias.name for alias in node.names)


def room(name: str) -> str | None:
    """The room of gen that a dotted name lives in: gen.data.images -> data; re-exports live where they come from."""
    part = name.split(".")[1]
    return REEXPORTS.get(part, part)


def import_problem(path: Path, name: str) -> str | None:
    """What is wrong with a file of ours importing a dotted name, or None."""
    folder, first = path.parts[0], name.split(".")[0]
    if first == "":
        sibling = folder in ("sample", "eval") and not name.startswith("..")
        return None if sibling else "write gen.x, not a relative import"
    if first in {"train", "sample", "eval", "tests", "configs", "notebooks"}:
        return f"{first} is no import root"
    if first != "gen" or name == "gen":
        return None
    target = room(name)
    if target in {"train", "sample", "eval"}:
        return f"{folder} must not import gen.{target}"
    return floor_problem(path, target) if folder == "gen" and len(path.parts) > 1 else None


def floor_problem(path: Path, target: str | None) -> str | None:
    home = Path(path.parts[1]).stem
    if home == "__init__" or target in (None, home):
        return None
    unknown = {home, target} - set(FLOORS)
    if unknown:
        return f"{unknown} has no floor in STOREYS"
    if FLOORS[target] >= FLOORS[home]:
        return f"{home} (floor {FLOORS[home]}) must not import {target} (floor {FLOORS[target]})"
    return None


def import_problems(path: Path, tree: ast.AST) -> list[str]:
    found = ((name, import_problem(path, name)) for node in ast.walk(tree) for name in imported(node))
    return [f"{path}: {name}: {problem}" for name, problem in found if problem]


def run_at_import(node: ast.AST) -> Iterator[ast.AST]:
    """Nodes outside functions and outside `if TYPE_CHECKING:`."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        yield child
        yield from run_at_import(child)


def early_imports(tree: ast.AST) -> set[str]:
    return LATE & {name.split(".")[0] for node in run_at_import(tree) for name in imported(node)}


def words(node: ast.AST) -> set[str]:
    """Identifiers, keywords and whole strings of a node."""
    fields = (getattr(node, field, None) for field in ("id", "attr", "arg", "name", "value"))
    return {field for field in fields if isinstance(field, str)}


def unsafe_loads(tree: ast.AST) -> set[str]:
    found = set()
    for node in ast.walk(tree):
        names = set(imported(node))
        found |= {name for name in names if name.split(".")[0] in PICKLES or name == "torch.load"}
        found |= words(node) & UNSAFE
        if isinstance(node, ast.Attribute) and ast.unparse(node) == "torch.load":
            found.add("torch.load")
    return found


def flips(tree: ast.AST) -> set[str]:
    """Ways to mirror an image: by name, by flip(..., -1) and by x[..., ::-1]."""
    nodes = list(ast.walk(tree))
    named = {word for node in nodes for word in words(node) & FLIPS}
    return named | {ast.unparse(node) for node in nodes if flips_last_axis(node) or steps_backwards(node)}


def flips_last_axis(node: ast.AST) -> bool:
    if not isinstance(node, ast.Call) or ast.unparse(node.func).split(".")[-1] != "flip":
        return False
    given = [*node.args, *(keyword.value for keyword in node.keywords)]
    axes = [axis for value in given for axis in getattr(value, "elts", [value])]
    return bool({"-1", "3"} & {ast.unparse(axis) for axis in axes})


def steps_backwards(node: ast.AST) -> bool:
    if not isinstance(node, ast.Subscript) or not isinstance(node.slice, ast.Tuple):
        return False
    last = node.slice.elts[-1]
    return isinstance(last, ast.Slice) and last.step is not None and ast.unparse(last.step) == "-1"


def test_there_is_something_to_check():
    assert len(FILES) > 30


@every_file
def test_imports_point_downwards(path):
    assert import_problems(path, TREES[path]) == []


@every_file
def test_optional_packages_are_imported_late(path):
    assert early_imports(TREES[path]) == set()


@every_file
def test_nothing_unpickles(path):
    assert unsafe_loads(TREES[path]) == set()


@every_file
def test_nothing_flips(path):
    assert flips(TREES[path]) == set()


@every_file
def test_file_has_one_job(path):
    lines = len((ROOT / path).read_text().splitlines())
    assert lines <= 250
    assert not VAGUE & {Path(part).stem for part in path.parts}
    classes = [node.name for node in ast.walk(TREES[path]) if isinstance(node, ast.ClassDef)]
    assert [name for name in classes if name.endswith(("Manager", "Handler", "Factory"))] == []


def test_functions_are_short():
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    nodes = [node for tree in TREES.values() for node in ast.walk(tree) if isinstance(node, kinds)]
    lengths = sorted(node.end_lineno - node.lineno + 1 for node in nodes)
    assert statistics.median(lengths) < 15
    assert statistics.quantiles(lengths, n=10)[-1] < 40


def test_jobs_do_not_shadow_modules():
    # a script's folder comes first on the path: train/datasets.py would hide the package of that name
    taken = set(packages_distributions()) | sys.stdlib_module_names | NOT_IN_TRAIN
    assert {path.stem for path in FILES if path.parts[0] == "train"} & (taken - {"__init__"}) == set()


def test_every_package_is_declared():
    setuptools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    folders = {path.parent for path in FILES}
    assert {folder for folder in folders if not (ROOT / folder / "__init__.py").exists()} == set()
    names = {".".join(folder.parts if folder.parts[0] == "gen" else ("gen", *folder.parts)) for folder in folders}
    assert names | {"gen.configs"} == set(setuptools["packages"])
    mounted = {f"gen.{folder}": folder for folder in ("train", "sample", "eval", "configs")}
    assert setuptools["package-dir"] == {"gen": "gen", **mounted}


def test_tests_use_one_name_a_module():
    trees = {path: ast.parse(path.read_text()) for path in (ROOT / "tests").rglob("*.py")}
    names = {(path.name, name.split(".")[0]) for path, t in trees.items() for n in ast.walk(t) for name in imported(n)}
    assert {(file, name) for file, name in names if name in {"train", "sample", "eval"}} == set()


@pytest.mark.parametrize(
    ("path", "source", "good"),
    [
        ("gen/tasks/view.py", "from gen.models.condition import Condition", True),
        ("gen/models/codec.py", "from gen import seeds", True),
        ("gen/models/codec.py", "from gen.models import text", True),
        ("gen/config.py", "from gen.errors import UserError", True),
        ("gen/__init__.py", "from gen.pipeline import CXRPipeline", True),
        ("sample/cli.py", "from .plan import read_plan", True),
        ("sample/cli.py", "from gen import CXRPipeline", True),
        ("gen/models/codec.py", "from gen.data import images", False),
        ("gen/models/codec.py", "from gen import data", False),
        ("gen/data/index.py", "def f():\n    import gen.pipeline", False),
        ("gen/objectives/diffusion.py", "from gen import CXRPipeline", False),
        ("gen/pipeline.py", "from gen.engine.loop import Loop", False),
        ("gen/app/text_tab.py", "from gen.pipeline import CXRPipeline", True),
        ("gen/app/report_tab.py", "from gen.eval.evaluation import measure", False),
        ("gen/app/page.py", "from gen.engine.loop import Loop", False),
        ("gen/pipeline.py", "from gen.app.session import Session", False),
        ("gen/config.py", "import gen.seeds", False),
        ("gen/provenance.py", "from gen.tasks import TASKS", False),
        ("gen/attic/old.py", "from gen import config", False),
        ("gen/models/codec.py", "from . import text", False),
        ("gen/pipeline.py", "from gen.sample.cli import main", False),
        ("train/ldm.py", "from .vae import main", False),
        ("train/ldm.py", "from gen.train.vae import main", False),
        ("train/ldm.py", "import sample.cli", False),
        ("sample/cli.py", "from gen.eval import stats", False),
        ("sample/cli.py", "from gen import train", False),
        ("eval/cli.py", "from ..sample import plan", False),
    ],
)
def test_import_checker(path, source, good):
    assert (import_problems(Path(path), ast.parse(source)) == []) is good


@pytest.mark.parametrize(
    ("check", "source", "good"),
    [
        (early_imports, "def f():\n    import pydicom", True),
        (early_imports, "if TYPE_CHECKING:\n    from pydicom import Dataset", True),
        (early_imports, "from pydicom import Dataset", False),
        (early_imports, "try:\n    import xformers.ops\nexcept ImportError: pass", False),
        (early_imports, "class A:\n    import wandb", False),
        (unsafe_loads, "from safetensors.torch import load_file", True),
        (unsafe_loads, "torch.load(path)", False),
        (unsafe_loads, "from torch import load", False),
        (unsafe_loads, "import pickle", False),
        (unsafe_loads, "AutoModel.from_pretrained(x, trust_remote_code=False)", False),
        (unsafe_loads, "options = {'trust_remote_code': True}", False),
        (flips, "x.flip(0)", True),
        (flips, "shape[::-1]", True),
        (flips, "rows[-1].flip(0)", True),
        (flips, "torch.flip(x, (2, 3))", False),
        (flips, "torch.flip(x, dims=[-1])", False),
        (flips, "x.flip(-1)", False),
        (flips, "image[..., ::-1]", False),
        (flips, "ImageOps.mirror(image)", False),
        (flips, "v2.RandomHorizontalFlip(0.5)", False),
        (flips, "from torchvision.transforms.functional import hflip", False),
    ],
)
def test_other_checkers(check, source, good):
    assert (check(ast.parse(source)) == set()) is good

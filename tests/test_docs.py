"""Documentation that is read off the code is up to date, every command written in it is one, and the site builds."""

import importlib.util
import re
import shlex
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
import typer
import yaml

from gen.config import load_config

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((DOCS / "pages").rglob("*.md"))]


def from_path(path):
    """A script that is no module of the package."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


generate = from_path(DOCS / "generate.py")
PROGRAMS = {name: typer.main.get_command(app) for name, app in generate.programs().items()}


@pytest.mark.parametrize("path", sorted(generate.pages()), ids=str)
def test_generated_pages_are_what_the_code_says(path):
    written = (DOCS / "pages" / path).read_text()
    assert written == generate.pages()[path], f"run: {Path(sys.executable).name} docs/generate.py"


@pytest.mark.parametrize("name", sorted(generate.jobs()))
def test_every_setting_says_what_it_is(name):
    silent, seen = [], [generate.jobs()[name]]
    for model in seen:
        for key, field in model.model_fields.items():
            seen += [part for part in generate._models(field.annotation) if part not in seen]
            tag = key in ("kind", "name") and field.default is not None
            if not tag and not generate._meaning(field):
                silent.append(f"{model.__name__}.{key}")
    assert silent == []


def commands(page):
    """Lines of code blocks without a language, or in a shell's, joined where they go on; remarks taken off."""
    fences = re.findall(r"^```(\w*)\n(.*?)^```$", page, re.M | re.S)
    shell = "".join(text for language, text in fences if language in ("", "bash", "sh"))
    for line in shell.replace("\\\n", " ").splitlines():
        text = re.sub(r"(^|\s)#.*$", "", line).strip()
        text = re.sub(r"^(?:\w+=\S+\s+)+", "", text)  # variables set for one command
        if text and not text.startswith("python3 -m venv"):
            yield text.replace(".venv/bin/", "")


COMMANDS = [(page.name, command) for page in PAGES for command in commands(page.read_text())]


@pytest.mark.parametrize(("page", "command"), [c for c in COMMANDS if c[1].startswith("cxr-")], ids=lambda x: x[:60])
def test_every_written_command_would_be_taken(page, command):
    """By the program's own parser: options, choices and types; nothing is run."""
    name, *words = shlex.split(command)
    program = PROGRAMS[name]
    parse(program, name, [word for word in words if word != "..."])


@pytest.mark.parametrize("name", sorted(PROGRAMS))
def test_every_help_ends_with_an_example_that_would_be_taken(name):
    nested = getattr(PROGRAMS[name], "commands", {"serve": PROGRAMS[name]})
    without = [word for word, command in nested.items() if not (command.epilog or "").startswith(f"Example: {name}")]
    assert without == [], "give them one in gen/examples.py"
    for command in nested.values():
        parse(PROGRAMS[name], name, shlex.split(command.epilog)[2:])


def parse(command, name, words):
    nested = getattr(command, "commands", None)
    if nested is None:
        command.make_context(name, list(words))
        return
    assert words and words[0] in nested, f"{name} has no command {words[:1]}"
    parse(nested[words[0]], words[0], words[1:])


@pytest.mark.parametrize(
    ("page", "command"), [c for c in COMMANDS if re.search(r"launch .*train/\w+\.py \S", c[1])], ids=lambda x: x[:60]
)
def test_every_written_job_has_its_recipe(page, command):
    job, rest = re.search(r"(train/\w+\.py) (.*)", command).groups()
    recipe, *overrides = shlex.split(rest)
    if not recipe.startswith("configs/"):
        assert recipe in ("CONFIG.yaml", "...")
        return
    load_config(generate.jobs()[job], ROOT / recipe, [word for word in overrides if "=" in word])


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\((?!https?:|#|mailto:)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_picture_of_the_architecture_has_every_room():
    rules = from_path(ROOT / "tests" / "test_architecture.py")
    tree = ElementTree.parse(DOCS / "pages" / "architecture.svg")
    words = {text.text for text in tree.iter("{http://www.w3.org/2000/svg}text")}
    assert set(rules.FLOORS) - words == set()


def test_the_citation_is_whole():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    from gen import __version__

    assert citation["version"] == __version__ and citation["license"] == "Apache-2.0"
    assert {"cff-version", "message", "title", "authors"} <= set(citation)


def test_the_site_builds(tmp_path):
    from mkdocs.commands.build import build
    from mkdocs.config import load_config as load_site

    site = load_site(str(DOCS / "mkdocs.yml"), site_dir=str(tmp_path / "site"))
    build(site)
    python = (tmp_path / "site" / "python" / "index.html").read_text()
    assert "Draw radiographs from prompts" in python and "Draw one image for every row" in python
    pages = [page.read_text() for page in (tmp_path / "site").rglob("*.html")]
    fetched = {url for page in pages for url in re.findall(r'<(?:script|img)[^>]+src="(https?://[^"]+)', page)}
    fetched |= {url for page in pages for url in re.findall(r'<link[^>]+stylesheet[^>]+href="(https?://[^"]+)', page)}
    assert fetched == set()

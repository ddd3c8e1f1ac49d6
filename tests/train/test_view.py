"""From a text model to a view model by changes of low rank, and on to a small folder beside its base."""

import json
import shutil

import pytest
import torch
import yaml
from PIL import Image

from gen.data.index import read_index, write_index
from gen.errors import UserError
from gen.models.first_view import FirstView
from gen.models.lowrank import LowRank
from gen.models.study_code import StudyCoder
from gen.pipeline import CXRPipeline
from gen.train import first_view, ldm, publish, study_code

PROMPT = "PA chest radiograph."


@pytest.fixture(scope="module")
def studies(world, tmp_path_factory):
    """The world's images two to a study, a text model, and the recipe of a view model that starts from it."""
    folder = tmp_path_factory.mktemp("views")
    table = read_index(world / "index.csv")
    table["study_id"] = table["patient_id"] = [f"s{number // 2}" for number in range(len(table))]
    table["view"] = ["PA", "LATERAL"] * (len(table) // 2)
    write_index(table, folder / "index.csv")
    recipe = yaml.safe_load((world / "text.yaml").read_text()) | {"run": str(folder / "text")}
    recipe["train"] |= {"steps": 2}
    (folder / "text.yaml").write_text(yaml.safe_dump(recipe))
    view = recipe | {"run": str(folder / "view"), "initialise_from": str(folder / "base"), "low_rank": 2}
    view["data"] = recipe["data"] | {"index": str(folder / "index.csv"), "repeat": {"drawn": 2}}
    view["task"] = {"name": "view", "grid": 2, "hidden": 8}
    view["text"] = {"trainable": False, "max_tokens": 16}
    (folder / "view.yaml").write_text(yaml.safe_dump(view))
    return folder


def test_a_view_model_from_a_text_model(studies, monkeypatch):
    ldm.main([str(studies / "text.yaml")])
    CXRPipeline.from_pretrained(studies / "text" / "export").to(torch.float16).save_pretrained(studies / "base")
    ldm.main([str(studies / "view.yaml"), "train.validate_every=1", "train.steps=3"])
    figures = json.loads((studies / "view" / "export" / "run.json").read_text())["figures"]
    assert set(figures) == {"val_loss", "val_loss_other_prompts", "val_loss_other_contexts"}
    pipeline = CXRPipeline.from_pretrained(studies / "view" / "export")
    assert pipeline.config.task == "view" and not any(isinstance(layer, LowRank) for layer in pipeline.unet.modules())
    base = CXRPipeline.from_pretrained(studies / "base").unet.state_dict()
    changes = {
        name: weight - base[name] for name, weight in pipeline.unet.state_dict().items() if "conv_in" not in name
    }
    ranks = [torch.linalg.matrix_rank(c.flatten(1), rtol=1e-3) for c in changes.values() if c.ndim == 4 and c.any()]
    assert ranks and int(torch.stack(ranks).median()) == 2
    assert pipeline.unet.conv_in.weight[:, 4:].abs().max() > 0  # the context has begun to count
    study = [(Image.new("L", (64, 64), 90), "PA")]
    drawn = pipeline(PROMPT, study=study, steps=2, progress=False, output_type="latent").images

    arguments = ["publish.py", studies / "view" / "export", studies / "slim", "--base", studies / "base", "--rank", 2]
    (studies / "figures.json").write_text("{}")
    monkeypatch.setattr("sys.argv", [*map(str, arguments), "--figures", str(studies / "figures.json")])
    publish.main()
    assert (
        not (studies / "slim" / "vae").exists() and "Views of one study" in (studies / "slim" / "README.md").read_text()
    )
    again = CXRPipeline.from_pretrained(studies / "slim")
    again.scheduler = pipeline.scheduler
    slim = again(PROMPT, study=study, steps=2, progress=False, output_type="latent").images
    off = float((slim - drawn).norm() / drawn.norm())
    assert off < 0.1, off  # float16 weights, and what is beyond the rank
    shutil.rmtree(studies / "base")
    with pytest.raises(UserError, match="not beside it"):
        CXRPipeline.from_pretrained(studies / "slim")


def test_a_view_model_begins_with_what_the_code_of_the_study_tells(studies, monkeypatch):
    recipe = yaml.safe_load((studies / "view.yaml").read_text())
    coder = {"run": str(studies / "coder"), "codec": recipe["codec"], "data": recipe["data"], "train": recipe["train"]}
    first = coder | {"run": str(studies / "first"), "coder": str(studies / "coder" / "export")}
    for name, job in (("coder", coder), ("first", first)):
        small = {"width": 8, "features": 8} if name == "coder" else {"width": 8, "hidden": 8}
        (studies / f"{name}.yaml").write_text(yaml.safe_dump(job | {"network": small}))
    study_code.main([str(studies / "coder.yaml"), "train.validate_every=1"])
    figures = json.loads((studies / "coder" / "export" / "run.json").read_text())["figures"]
    assert set(figures) == {"own_nearer", "own_nearest", "images"} and 0 <= figures["own_nearer"] <= 1
    first_view.main([str(studies / "first.yaml"), "train.validate_every=1"])
    export = studies / "first" / "export"
    figures = json.loads((export / "run.json").read_text())["figures"]
    assert set(figures) == {"squared_own", "squared_other", "squared_none"} and all(f > 0 for f in figures.values())
    trained = FirstView.from_pretrained(export).state_dict()
    coded = StudyCoder.from_pretrained(studies / "coder" / "export").state_dict()
    assert all(torch.equal(trained[f"study_coder.{name}"], weight) for name, weight in coded.items())

    run, whole = studies / "begun", ["initialise_from=null", "low_rank=0", "train.steps=3"]
    ldm.main([str(studies / "view.yaml"), *whole, f"run={run}", f"task.first={export}"])
    pipeline = CXRPipeline.from_pretrained(run / "export")
    assert all(torch.equal(weight, trained[n]) for n, weight in pipeline.conditioner.first_view.state_dict().items())
    ldm.main([str(studies / "view.yaml"), *whole, f"run={studies / 'plain'}"])
    published = studies / "published"
    arguments = ["publish.py", studies / "plain" / "export", published, "--first", export]
    (studies / "figures.json").write_text("{}")
    monkeypatch.setattr("sys.argv", [*map(str, arguments), "--figures", str(studies / "figures.json")])
    publish.main()
    assert [run["run"] for run in json.loads((published / "figures.json").read_text())["runs"]][-3:] == [
        "coder",
        "first",
        "plain",
    ]
    study = [(Image.new("L", (64, 64), 90), "PA")]
    settings = {"steps": 4, "progress": False, "output_type": "latent"}
    plain, begun = (CXRPipeline.from_pretrained(f) for f in (studies / "plain" / "export", published))
    assert not torch.equal(begun(PROMPT, study=study, **settings).images, plain(PROMPT, study=study, **settings).images)
    off = begun(PROMPT, **settings).images - plain(PROMPT, **settings).images
    assert off.abs().max() < 0.05  # float16 weights alone: without context nothing is known
    with pytest.raises(UserError, match="nowhere"):
        ldm.main([str(studies / "view.yaml"), *whole, f"run={run}2", "task.first=nowhere"])
    with pytest.raises(UserError, match=r"task\.first: initialise_from brings its own"):
        begun = f"initialise_from={studies / 'plain' / 'export'}"
        ldm.main([str(studies / "view.yaml"), begun, "low_rank=0", f"run={run}3", f"task.first={export}"])
    with pytest.raises(UserError, match="an answer of its own"):
        publish.with_first_answer(pipeline, export)
    settings = json.loads((published / "conditioner" / "config.json").read_text())
    shown = settings | {"shown": True}
    (published / "conditioner" / "config.json").write_text(json.dumps(shown))
    with pytest.raises(UserError, match=r"takes \d+ channels, its task gives \d+"):
        CXRPipeline.from_pretrained(published)
    with pytest.raises(UserError, match="for view models; this one's task is text"):
        publish.with_first_answer(CXRPipeline.from_pretrained(), export)


def test_changes_of_nothing_are_refused(studies):
    with pytest.raises(UserError, match="low_rank: needs weights to start from"):
        ldm.main([str(studies / "view.yaml"), "initialise_from=null"])
    with pytest.raises(UserError, match="deeper: needs weights to start from"):
        ldm.main([str(studies / "view.yaml"), "initialise_from=null", "low_rank=0", "deeper=[2,2]"])


def test_a_wrong_setting_of_a_task_is_named_as_it_is_written(studies):
    with pytest.raises(UserError, match=r"unknown key 'task\.grit'"):
        ldm.main([str(studies / "view.yaml"), "task.grit=2"])

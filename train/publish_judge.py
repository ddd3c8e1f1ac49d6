"""Make a small, shareable folder of a judge: python train/publish_judge.py runs/reader_128/export OUT [--index INDEX]

Casts weights to float16, measures the judge on the index through the same door as its users, and writes the model card.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import yaml
from torch import nn

from gen.data.index import read_index
from gen.data.labelled import CHILD_AGE
from gen.data.segmented import load_segmented
from gen.engine.checkpoint import replace_folder
from gen.engine.judging import draw_lungs, measure_clip, measure_lungs, measure_reader
from gen.errors import UserError, exit_on_user_error
from gen.judges.alignment import ImageText
from gen.judges.lungs import LungSegmenter
from gen.judges.reader import Reader

CONFIGS = Path(__file__).parents[1] / "configs"
# class of the export -> the judge, its figures, its card, and the attribute that holds the network
JUDGES = {
    "RadiographClassifier": (Reader, measure_reader, "reader_card.md", "classifier"),
    "ChestSegmenter": (LungSegmenter, measure_lungs, "lungs_card.md", "network"),
    "RadiographCLIP": (ImageText, measure_clip, "clip_card.md", "model"),
}
VIEWS_ALONE = "view_reader_card.md"  # of a reader that learned no findings


def kind_of(run: Path) -> str:
    """Which judge an export folder holds."""
    config = run / "config.json"
    kind = json.loads(config.read_text()).get("_class_name") if config.is_file() else None
    if kind not in JUDGES:
        raise UserError(f"{run}: no export of a judge; give the export folder of train/classifier.py or its siblings")
    return kind


def summary_of(run: Path) -> dict:
    """Steps, seconds and validation figures of a run."""
    return json.loads((run / "run.json").read_text())


def facts(run: Path, index: Path, phantoms: Path | None, segmented: bool) -> dict[str, str]:
    """What the card says of the training."""
    summary = summary_of(run)
    batch = yaml.safe_load((run / "config.yaml").read_text())["train"]["batch_size"]
    rows = read_index(index)
    ours = rows[rows["may_ship"].astype(bool) & (rows["split"] == "train")]
    drawn = None if phantoms is None else read_index(phantoms)
    frontal = 0 if drawn is None else int((drawn["view"] != "LATERAL").sum())
    masks = f"{len(load_segmented(index, ours, 32))} radiographs and {frontal} phantoms" if segmented else ""
    return {
        "RUN": f"{summary['step']:,} steps of {batch} images in {summary['seconds'] / 60:.0f} minutes by the clock.",
        "TRAIN_IMAGES": masks or f"{len(ours):,}",
        "PHANTOMS": f"{0 if drawn is None else len(drawn):,}",
        "CHILD_AGE": f"{CHILD_AGE:g}",
    }


def write_judge(network: nn.Module, run: Path, figures: dict, card: str, folder: Path) -> None:
    """Weights in float16, tokenizer if there is one, figures and card; nothing that names this machine."""
    network.half().save_pretrained(folder)
    for path in (run / "tokenizer").glob("*.json"):
        (folder / "tokenizer").mkdir(exist_ok=True)
        (folder / "tokenizer" / path.name).write_bytes(path.read_bytes())
    (folder / "figures.json").write_text(json.dumps(figures, indent=1))
    (folder / "README.md").write_text(card)


def arguments_of_command() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="export folder of train/classifier.py, segmenter.py or contrastive.py")
    parser.add_argument("out", type=Path, help="folder to write")
    parser.add_argument("--index", type=Path, default=Path("index.parquet"), help="index to measure on")
    parser.add_argument("--trained-phantoms", type=Path, help="index of the phantoms trained on, to count them")
    parser.add_argument("--test-phantoms", type=Path, help="index of other phantoms, to measure on")
    parser.add_argument("--picture", type=Path, help="PNG of the segmenter's outlines to write")
    return parser.parse_args()


def main() -> None:
    """Publish one judge."""
    arguments = arguments_of_command()
    kind = kind_of(arguments.run)
    judge_type, measure, template, attribute = JUDGES[kind]
    judge = judge_type.load(arguments.run)
    config = yaml.safe_load((arguments.run / "config.yaml").read_text())
    figures, table = measure(judge, arguments.index, config, arguments.test_phantoms)
    figures["run"] = {name: summary_of(arguments.run)[name] for name in ("step", "seconds")}
    print(table)
    if arguments.picture is not None and isinstance(judge, LungSegmenter):
        draw_lungs(judge, arguments.index, arguments.picture)
    network = getattr(judge, attribute)
    values = facts(arguments.run, arguments.index, arguments.trained_phantoms, isinstance(judge, LungSegmenter))
    values |= {"PARAMETERS": f"{sum(p.numel() for p in network.parameters()):,}", "FIGURES": table}
    if getattr(judge, "labels", None) == ():
        template = VIEWS_ALONE
    card = (CONFIGS / template).read_text().replace("{RESOLUTION}", str(network.config.get("resolution", 128)))
    for name, value in values.items():
        card = card.replace(f"{{{name}}}", value)
    replace_folder(arguments.out, lambda folder: write_judge(network, arguments.run, figures, card, folder))
    size = sum(path.stat().st_size for path in arguments.out.rglob("*") if path.is_file())
    print(f"{arguments.out}: {size / 1e6:.2f} MB")


if __name__ == "__main__":
    with exit_on_user_error():
        main()

"""An example for the help of every command: what one would really type."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import typer

EXAMPLES: dict[str, dict[str, str]] = {
    "cxr-sample": {
        "image": "--prompt 'PA chest radiograph of a 60-year-old woman with cardiomegaly.' --n 4 --seed 7 --out out",
        "demo": "--out demo",
        "inpaint": "chest.png --mask mask.png --prompt 'Pleural effusion.' --out edited.png",
        "plan": "--index index.parquet --each 2000 --equal-sexes --out plan.parquet",
        "run": "plan.parquet --out set --gates sanity,view,duplicates --shard 3/64",
        "verify": "set",
        "calibrate": "--index index.parquet --out gates.yaml",
        "index": "set --out synthetic.parquet",
        "bone": "chest.dcm --out soft",
        "temporal": "--prior chest.png --at 72h --events events.csv --model runs/temporal_256/export --out futures",
        "follow-ups": "--index phantom/index.parquet --model runs/temporal_256/export --out follow-ups",
        "study-pairs": "--index phantom/index.parquet --model runs/view_256/export --out pairs",
        "studies": "--index phantom/index.parquet --model gen/weights/view_256 --out studies",
        "lung-pairs": "looks/index.parquet --out looks-and-lungs",
    },
    "cxr-index": {
        "build": "folder /data/hospital --csv labels.csv --map patient_id=MRN --map view=View --out index.parquet",
        "sources": "",
        "check": "index.parquet",
        "summary": "index.parquet",
        "merge": "nih.parquet hospital.parquet --out both.parquet",
        "label": "index.parquet --out labelled.parquet",
        "label-check": "--reports indiana_reports.csv",
        "phantom": "--n 1000 --views PA,LATERAL --out phantom",
        "phantom-check": "--real index.parquet --out check.png",
        "phantom-sheet": "--real index.parquet --out sheet.png",
        "vary-pairs": "phantom/index.parquet --out looks --like index.parquet",
    },
    "cxr-eval": {
        "prompts": "--real index.parquet --split test --each 2 --out prompts.csv",
        "report": "--real index.parquet --synthetic set --out evaluation --share",
        "fidelity": "--real index.parquet --synthetic set --out evaluation --network rad-dino",
        "alignment": "--real index.parquet --synthetic set --out evaluation --reader runs/classifier/export",
        "privacy": "--real index.parquet --synthetic set --out evaluation --reidentifier runs/reidentify_128/export",
        "fairness": "--real index.parquet --synthetic set --out evaluation",
        "utility": "--real index.parquet --synthetic phantom --out evaluation --target masks seeds=3",
        "bone": "--pairs pairs.csv --out evaluation/bone",
        "bone-findings": "soft --index phantom/index.parquet",
        "sizes": "--table follow-ups/follow_ups.csv --phantoms phantom/index.parquet --out evaluation/sizes",
        "temporal": "--table follow-ups/follow_ups.csv --out evaluation/temporal",
        "spread": "--table follow-ups/follow_ups.csv --out evaluation/spread",
        "studies": "--table studies/studies.csv --real phantom/index.parquet --out evaluation/studies",
        "views": "--table views.csv --out evaluation/views",
        "steps": "--real index.parquet --teacher runs/text_256/export --student runs/lcm_256/export --out evaluation",
    },
    "cxr-app": {"serve": "--model runs/mine/export --index index.parquet --port 8000"},
}


def add_examples(app: typer.Typer, program: str) -> None:
    """Put the examples of a program below the help of its commands."""
    examples = EXAMPLES[program]
    for command in app.registered_commands:
        name = command.name or getattr(command.callback, "__name__", "").replace("_", "-")
        if name in examples:
            called = program if len(app.registered_commands) == 1 else f"{program} {name}"
            command.epilog = f"Example: {called} {examples[name]}".strip()

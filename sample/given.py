"""What a view model is given besides a prompt: an angle, and images of the study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from gen.errors import UserError

if TYPE_CHECKING:
    from gen.pipeline import CXROutput, CXRPipeline

MOST = 3
READ = ("study", "study_view", "angle")
BLANK = dict.fromkeys(READ, "")
JOIN = "|"  # between several images of one cell


@dataclass(frozen=True)
class Given:
    """Images of the study with their views or angles (empty where not said), and the angle asked for, in degrees."""

    study: tuple[tuple[str, str], ...] = ()
    angle: float | None = None

    def __bool__(self) -> bool:
        return bool(self.study) or self.angle is not None

    def cells(self) -> dict[str, str]:
        """As columns of a manifest, none where nothing is given."""
        angle = "" if self.angle is None else f"{self.angle:g}"
        columns = [*map(JOIN.join, zip(*self.study, strict=True))] or ["", ""]
        return dict(zip(READ, [*columns, angle], strict=True)) if self else {}


NOTHING = Given()


def given_of(study: Sequence[str | Path], views: Sequence[str], angle: float | None = None) -> Given:
    """Images of a study with their views, or their angles in degrees, in the order of both.

    Errors: UserError for a missing file, too many images, another number of views, an unknown view.
    """
    if len(study) > MOST:
        raise UserError(f"study: {len(study)} images; at most {MOST}")
    if views and len(views) != len(study):
        raise UserError(f"study_view: {len(views)} views for {len(study)} images of the study; give one an image")
    for path in study:
        if not Path(path).is_file():
            raise UserError(f"study: no such image file {path}; correct the path")
    for view in views:
        _check_view(view)
    named = [view.upper() for view in views] or [""] * len(study)
    return Given(tuple(zip(map(str, study), named, strict=True)), angle)


def _check_view(said: str) -> None:
    from gen.calls.view import view_or_angle

    try:
        view_or_angle(said)
    except UserError as error:
        raise UserError(f"study_{error}") from None


def given_in(cells: Mapping[str, str], folder: Path, angle: float | None, otherwise: Given) -> Given:
    """What a table's row gives; its paths are relative to the table's folder. Empty cells take `otherwise`."""
    images, views = (
        [part.strip() for part in cells.get(name, "").split(JOIN) if part.strip()] for name in ("study", "study_view")
    )
    if not images:
        return Given(otherwise.study, otherwise.angle if angle is None else angle)
    return given_of([folder / image for image in images], views, angle)


def check_patients(rows: Sequence[tuple[str, Mapping[str, str], Given]]) -> None:
    """Raise UserError where a table with a patient_id gives one image to two patients.

    Rows: their place in the table, their cells, what they give.
    """
    owners: dict[str, tuple[str, str]] = {}
    for place, cells, given in rows:
        patient = cells.get("patient_id", "").strip()
        for image, _ in given.study if patient else ():
            owner, first = owners.setdefault(image, (patient, place))
            if owner != patient:
                raise UserError(f"{place}: study image {image} is of patient {owner} ({first}), not of {patient}")


def check_owners(index: Path, givens: Sequence[Given]) -> None:
    """Raise UserError where a study image is not in the index, or one drawing is given images of two patients."""
    studies = [[image for image, _ in given.study] for given in givens]
    owners = owners_of(index, [image for study in studies for image in study])
    for study in studies:
        patients = {owners[image]: image for image in study}
        if len(patients) > 1:
            told = " and ".join(f"{image} of {patient}" for patient, image in patients.items())
            raise UserError(f"study: images of {len(patients)} patients ({told}); give those of one")


def owners_of(index: Path, images: Sequence[str | Path]) -> dict[str, str]:
    """Whose each image is. Errors: UserError for one that is not in the index."""
    from gen.data.index import read_index

    rows = read_index(index)
    known = dict(zip(rows["image"], rows["patient_id"].astype(str), strict=True))
    places = {str(image): str(Path(image).absolute()) for image in images}
    for image in [image for image, place in places.items() if place not in known]:
        raise UserError(f"{index}: {image} is not in this index; leave --index out, or give its images")
    return {image: known[place] for image, place in places.items()}


def check_model(pipeline: CXRPipeline, givens: Sequence[Given]) -> None:
    """Raise UserError where a model that draws from prompts alone is given more."""
    if pipeline.config.task != "view" and any(givens):
        name = "study" if any(given.study for given in givens) else "angle"
        task = pipeline.config.task
        raise UserError(f"{name}: {pipeline.config.name} is of task {task}; give a view model with --model")


def draw_given(
    pipeline: CXRPipeline, prompts: list[str], seeds: list[int], given: list[Given], steps: int, guidance: float
) -> CXROutput:
    """Draw one image a row, each from its own study and angle, as arrays."""
    from gen.calls.view import said_of, view_batch

    batch = view_batch(pipeline, prompts, [one.angle for one in given], [one.study for one in given])
    out = pipeline.draw(batch, seeds, steps, guidance, "np", progress=False)
    told = [said_of(pipeline, one.angle, one.study) for one in given]
    out.records = [replace(record, given=said) for record, said in zip(out.records, told, strict=True)]
    return out

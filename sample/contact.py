"""Contact sheets: groups of radiographs under their prompts, on one dark page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

TILE = 256  # px, side of one radiograph
GAP, MARGIN = 6, 36  # px
TITLE_SIZE, TEXT_SIZE, SMALL_SIZE = 34, 21, 17  # px; legible when the sheet is shown at half its size
LINE = 1.3  # line height, font sizes
PAGE, INK, FAINT = 24, 235, 150  # grey values
LABEL_LINES = 2

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@dataclass(frozen=True)
class Group:
    """Radiographs of one prompt, side by side."""

    label: str
    caption: str
    images: Sequence[Image.Image]


def contact_sheet(groups: Sequence[Group], title: str, footer: str, columns: int = 3) -> Image.Image:
    """Draw groups row by row, labels above their images; prompts that are too long end in dots."""
    across = max(len(group.images) for group in groups)
    width = across * TILE + (across - 1) * GAP
    label = _height(TEXT_SIZE) * LABEL_LINES + _height(SMALL_SIZE) + GAP
    columns = min(columns, len(groups))
    head, foot = MARGIN + _height(TITLE_SIZE) + MARGIN // 2, _height(SMALL_SIZE) + MARGIN
    row = label + TILE + MARGIN
    size = (MARGIN + columns * (width + MARGIN), head + math.ceil(len(groups) / columns) * row + foot)
    sheet = Image.new("L", size, PAGE)
    pen = ImageDraw.Draw(sheet)
    pen.text((MARGIN, MARGIN), title, INK, _font(TITLE_SIZE))
    pen.text((MARGIN, size[1] - foot), footer, FAINT, _font(SMALL_SIZE))
    for number, group in enumerate(groups):
        corner = MARGIN + number % columns * (width + MARGIN), head + number // columns * row
        _draw_group(sheet, group, corner, width, label)
    return sheet


def _draw_group(sheet: Image.Image, group: Group, corner: tuple[int, int], width: int, label: int) -> None:
    x, y = corner
    pen = ImageDraw.Draw(sheet)
    lines = wrap(group.label, TEXT_SIZE, width, LABEL_LINES)
    y_text = y + (LABEL_LINES - len(lines)) * _height(TEXT_SIZE)  # stands on its images
    for line in lines:
        pen.text((x, y_text), line, INK, _font(TEXT_SIZE))
        y_text += _height(TEXT_SIZE)
    pen.text((x, y_text), _cut(group.caption, _font(SMALL_SIZE), width), FAINT, _font(SMALL_SIZE))
    for number, image in enumerate(group.images):
        tile = image.convert("L").resize((TILE, TILE), Image.Resampling.LANCZOS)
        sheet.paste(tile, (x + number * (TILE + GAP), y + label))


def wrap(text: str, size: int, width: int, lines: int) -> list[str]:
    """Break a text at its words into at most `lines` lines of `width` pixels, the last one cut with dots."""
    font, broken = _font(size), [""]
    for word in text.split():
        longer = f"{broken[-1]} {word}".strip()
        if font.getlength(longer) <= width or not broken[-1]:
            broken[-1] = longer
        else:
            broken.append(word)
    if len(broken) > lines:
        broken = [*broken[: lines - 1], f"{broken[lines - 1]} ..."]
    return [_cut(line, font, width) for line in broken]


def _cut(line: str, font: Font, width: int) -> str:
    if font.getlength(line) <= width:
        return line
    line = line.removesuffix(" ...")
    while line and font.getlength(f"{line} ...") > width:
        line = line[:-1].rstrip()
    return f"{line} ..."


def _height(size: int) -> int:
    return round(size * LINE)


def _font(size: int) -> Font:
    return ImageFont.load_default(size)

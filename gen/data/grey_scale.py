"""A DICOM image's grey-scale pipeline: from stored values to brightness, in the order of PS3.4 N.2."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gen.data.images import luma

if TYPE_CHECKING:
    from pydicom import Dataset

WINDOW_TAGS = ("WindowCenter", "WindowWidth", "VOILUTFunction", "PhotometricInterpretation")
HALF_A_LEVEL = 0.5 / 255
DEEPEST = 2**16  # levels of a table; deeper pixels are computed one by one


def as_shown(stored: np.ndarray, dataset: Dataset, keep_bytes: bool) -> np.ndarray:
    """Stored values as brightness. Shapes: [H, W] or [H, W, 3] -> [H, W] float32 in 0..1, or uint8 kept as such.

    Grey ones by the table of all values that occur, far shorter than the image, or by the line that the table is.
    Errors: those of pydicom and numpy for tables that do not fit.
    """
    if stored.ndim == 3:
        return np.clip(luma(stored) / (2 ** int(dataset.BitsStored) - 1), 0, 1).astype(np.float32)
    low, high = int(stored.min()), int(stored.max())
    if low < -DEEPEST // 2 or high >= DEEPEST:
        return _brightness(stored, dataset)
    levels = _levels(stored, low, high, dataset)
    brightness = _brightness(levels.astype(stored.dtype), dataset)
    as_bytes = keep_bytes and stored.dtype == np.uint8
    if not as_bytes and (line := _line(levels, brightness)):
        return _along(stored, *line)
    table = np.zeros(DEEPEST, dtype=np.float32)  # negative values count from its end
    table[levels] = brightness
    return (np.round(table * 255).astype(np.uint8) if as_bytes else table)[stored]


def _line(levels: np.ndarray, brightness: np.ndarray) -> tuple[float, float] | None:
    """Slope and intercept of brightness that is straight between black and white, within a 16-bit level; else None."""
    between = np.flatnonzero((brightness > 0) & (brightness < 1))
    if len(between) < 2:
        return None
    first, last = between[[0, -1]]
    slope = (float(brightness[last]) - float(brightness[first])) / float(levels[last] - levels[first])
    line = slope, float(brightness[first]) - slope * float(levels[first])
    return line if np.abs(_along(levels, *line) - brightness).max() < 1 / DEEPEST else None


def _along(values: np.ndarray, slope: float, intercept: float) -> np.ndarray:
    """Brightness along a line, cut at black and white; in a third of a table's time. Shapes: [...] -> [...] float32."""
    shown = np.multiply(values, np.float32(slope), dtype=np.float32)
    shown += np.float32(intercept)
    return np.clip(shown, 0, 1, out=shown)


def shown_straight(dataset: Dataset) -> bool:
    """Whether brightness is a straight line over all 8-bit values, so that averages may be taken before it."""
    if dataset.get("BitsAllocated") != 8 or dataset.get("SamplesPerPixel") != 1:
        return False
    try:
        table = _brightness(np.arange(256, dtype=np.uint8), dataset)
    except (ValueError, AttributeError, TypeError, NotImplementedError, IndexError):
        return False  # said when the image is shown
    return bool(np.abs(table - np.linspace(table[0], table[-1], 256)).max() < HALF_A_LEVEL)


def _levels(stored: np.ndarray, low: int, high: int, dataset: Dataset) -> np.ndarray:
    """The values from the lowest to the highest; where they will be stretched, only those that occur."""
    levels = np.arange(low, high + 1)
    if dataset.get("VOILUTSequence") or _has_window(dataset) or stored.dtype == np.uint8:
        return levels
    return levels[np.bincount((stored.ravel().astype(np.intp) - low), minlength=len(levels)) > 0]


def _brightness(stored: np.ndarray, dataset: Dataset) -> np.ndarray:
    """Modality table, values of interest, polarity, padding, of any values. Shapes: [...] -> [...] float32 in 0..1."""
    padding = _padding(stored, dataset)
    values = _voi(_modality(stored, dataset), stored, dataset, padding)
    if _dark_is_high(dataset):
        values = 1 - values
    return np.where(padding, 0, values).astype(np.float32)


def _dark_is_high(dataset: Dataset) -> bool:
    """The presentation LUT says so; the photometric interpretation where there is none."""
    shape = str(dataset.get("PresentationLUTShape") or "").upper()
    return shape == "INVERSE" if shape else dataset.PhotometricInterpretation == "MONOCHROME1"


def _modality(stored: np.ndarray, dataset: Dataset) -> np.ndarray:
    from pydicom.pixels.processing import apply_rescale

    if dataset.get("ModalityLUTSequence"):
        return _through_table(stored, dataset.ModalityLUTSequence[0], dataset)[0]
    return apply_rescale(stored, dataset)


def _voi(values: np.ndarray, stored: np.ndarray, dataset: Dataset, padding: np.ndarray) -> np.ndarray:
    """Values of interest as 0..1; a table goes before a window, the first of several is taken."""
    if dataset.get("VOILUTSequence"):
        shown, bits = _through_table(values, dataset.VOILUTSequence[0], dataset)
        return np.clip(shown / (2**bits - 1), 0, 1)
    if _has_window(dataset):
        return _window(values, dataset)
    if stored.dtype == np.uint8 and values.dtype == np.uint8:
        return values / 255
    return _stretch(values, padding)


def _has_window(dataset: Dataset) -> bool:
    return dataset.get("WindowCenter") is not None and dataset.get("WindowWidth") is not None


def _through_table(values: np.ndarray, item: Dataset, dataset: Dataset) -> tuple[np.ndarray, int]:
    """Values by a modality or VOI table (PS3.3 C.11.1.1), and the bits of its entries.

    Not pydicom's, which takes a table of 12-bit entries for an unknown type and wraps long ones of 8-bit entries.
    """
    entries, first, bits = (int(number) for number in item.LUTDescriptor)
    entries = entries or 2**16
    if first >= 2**15 and (dataset.PixelRepresentation == 1 or values.min() < 0):
        first -= 2**16
    table = _table_entries(item["LUTData"].value, entries, dataset)
    if len(table) < entries:
        raise ValueError(f"a table of {len(table)} entries that should have {entries}")
    # tables are indexed by integers; a rescale leaves floats
    places = np.round(values).astype(np.int64) - first
    return table[np.clip(places, 0, entries - 1)], bits


def _table_entries(data: bytes | list[int], entries: int, dataset: Dataset) -> np.ndarray:
    if not isinstance(data, bytes):
        return np.asarray(data, dtype=np.uint16)
    if len(data) < 2 * entries:  # 8-bit entries, two a word
        return np.frombuffer(data, dtype=np.uint8)
    order = "<" if dataset.file_meta.TransferSyntaxUID.is_little_endian else ">"
    return np.frombuffer(data, dtype=f"{order}u2")


def _window(values: np.ndarray, dataset: Dataset) -> np.ndarray:
    """The window's output as 0..1.

    pydicom puts it on the range that the modality LUT can reach; a plain 16-bit header makes that range known, and
    keeps a negative rescale slope from turning the image over.
    """
    from pydicom import Dataset
    from pydicom.pixels.processing import apply_windowing

    header = Dataset()
    for tag in WINDOW_TAGS:
        if tag in dataset:
            setattr(header, tag, dataset[tag].value)
    header.BitsStored, header.PixelRepresentation = 16, 0
    return apply_windowing(values, header) / 65535


def _stretch(values: np.ndarray, padding: np.ndarray) -> np.ndarray:
    inside = values[~padding] if not padding.all() else values
    low, high = float(inside.min()), float(inside.max())
    return np.clip((values - low) / max(high - low, 1e-6), 0, 1)


def _padding(stored: np.ndarray, dataset: Dataset) -> np.ndarray:
    first = dataset.get("PixelPaddingValue")
    if not isinstance(first, int):
        return np.zeros(stored.shape, dtype=bool)
    last = dataset.get("PixelPaddingRangeLimit")
    last = last if isinstance(last, int) else first
    return (stored >= min(first, last)) & (stored <= max(first, last))

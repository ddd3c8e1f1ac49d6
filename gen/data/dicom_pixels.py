"""The stored values of a DICOM image, by the fastest decoder at hand that can read its transfer syntax."""

from __future__ import annotations

import io
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from gen.errors import UserError

if TYPE_CHECKING:
    from pydicom import Dataset
    from pydicom.uid import UID

# pydicom asks its plugins by the alphabet, GDCM first, which takes half as long again and more
FASTEST = {
    "1.2.840.10008.1.2.4.50": "pillow",  # JPEG_BASELINE
    "1.2.840.10008.1.2.4.80": "pyjpegls",  # JPEG-LS, lossless and near-lossless
    "1.2.840.10008.1.2.4.81": "pyjpegls",
    "1.2.840.10008.1.2.4.90": "pylibjpeg",  # JPEG 2000, lossless and not
    "1.2.840.10008.1.2.4.91": "pylibjpeg",
}
JPEG_BASELINE = "1.2.840.10008.1.2.4.50"
JPEG_EXTENDED = "1.2.840.10008.1.2.4.51"


def stored_values(dataset: Dataset, path: str, for_size: int | None = None) -> np.ndarray:
    """Pixels as they are stored, before any table. Shapes: -> [H, W], or [H, W, 3] in colour.

    With `for_size` a grey baseline JPEG may come as a fraction of its size, each side at least twice that one.

    Errors: UserError for a missing or unknown transfer syntax and for pixels that no decoder can read.
    """
    from pydicom.pixels.decoders.base import get_decoder

    syntax = dataset.file_meta.get("TransferSyntaxUID")
    if syntax is None:
        raise UserError(f"{path}: DICOM file without a transfer syntax; export it again")
    try:
        if syntax.is_encapsulated and not get_decoder(syntax).is_available:
            raise NotImplementedError
        if syntax == JPEG_EXTENDED and int(dataset.BitsStored) > 8:
            return _twelve_bit(dataset)
        return _decoded(dataset, syntax, for_size)
    except NotImplementedError:
        raise UserError(
            f"{path}: no decoder for {syntax.name}; pip install cxr-gen[dicom], or export it uncompressed"
        ) from None
    except Exception as error:  # each decoder plugin raises its own types
        reason = " ".join(str(error).split())  # one line for each plugin
        raise UserError(f"{path}: cannot decode the pixel data ({reason}); export it again") from None


def _decoded(dataset: Dataset, syntax: UID, for_size: int | None) -> np.ndarray:
    """By the fastest decoder of the syntax, or by whichever else can where that one cannot."""
    from pydicom.pixels.decoders.base import get_decoder

    if for_size and syntax == JPEG_BASELINE:
        with suppress(Exception):  # Pillow raises its own types
            return _reduced(dataset, for_size)

    fastest = FASTEST.get(str(syntax), "")
    if fastest and fastest in get_decoder(syntax).available_plugins:
        dataset.pixel_array_options(decoding_plugin=fastest)
        try:
            return dataset.pixel_array
        except Exception:  # each decoder plugin raises its own types
            dataset.pixel_array_options(decoding_plugin="")
    return dataset.pixel_array


def _reduced(dataset: Dataset, size: int) -> np.ndarray:
    """A JPEG at a half, a quarter or an eighth of its size: its decoder leaves out the fine frequencies."""
    from pydicom.encaps import generate_frames

    with Image.open(io.BytesIO(next(generate_frames(dataset.PixelData, number_of_frames=1)))) as image:
        if image.mode != "L" or image.size != (int(dataset.Columns), int(dataset.Rows)):
            raise ValueError("its JPEG has another size or other colours than its header says")
        image.draft("L", (2 * size, 2 * size))
        return np.asarray(image)


def _twelve_bit(dataset: Dataset) -> np.ndarray:
    """Lossy JPEG of 12 bits (process 4), which GDCM can read though pydicom does not ask it to."""
    try:
        import gdcm
    except ImportError:
        raise NotImplementedError from None
    from pydicom.encaps import generate_frames

    if int(dataset.SamplesPerPixel) != 1 or int(dataset.PixelRepresentation) != 0 or int(dataset.BitsStored) != 12:
        raise ValueError("12-bit JPEG must be grey, unsigned and of 12 bits")
    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(next(generate_frames(dataset.PixelData, number_of_frames=1)))
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((int(dataset.Columns), int(dataset.Rows), 1))
    image.SetDataElement(element)
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(gdcm.PhotometricInterpretation.MONOCHROME2))
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(JPEG_EXTENDED)))
    # 12 bits allocated, not 16: GDCM then takes its 12-bit decoder at once, without a complaint on stderr
    image.SetPixelFormat(gdcm.PixelFormat(1, 12, 12, 11, 0))
    data = image.GetBuffer().encode("utf-8", "surrogateescape")
    shape = (int(dataset.Rows), int(dataset.Columns))
    if len(data) != 2 * shape[0] * shape[1]:
        raise ValueError("the JPEG stream is damaged, or not of 12 bits")
    return np.frombuffer(data, dtype="<u2").reshape(shape)

"""Every transfer syntax and every grey-scale table, against highdicom on the same file and against the plain values."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from gen.data.dicom import read_dicom
from gen.errors import UserError

pydicom = pytest.importorskip("pydicom")
highdicom = pytest.importorskip("highdicom")
from pydicom import uid  # noqa: E402
from pydicom.dataset import Dataset, FileMetaDataset  # noqa: E402
from pydicom.encaps import encapsulate  # noqa: E402

GREY = 1 / 255
SHAPE = (40, 48)
STORED = {"8": (8, False), "10": (10, False), "12": (12, False), "12 signed": (12, True), "16": (16, False)}
STORED |= {"16 signed": (16, True)}
WINDOWS = {"WindowCenter": 900, "WindowWidth": 1500}
LOSSLESS = ("ExplicitVRLittleEndian", "ImplicitVRLittleEndian", "ExplicitVRBigEndian", "DeflatedExplicitVRLittleEndian")
LOSSLESS += ("RLELossless", "JPEG2000Lossless", "JPEGLSLossless", "JPEGLossless", "JPEGLosslessSV1")


def values(bits: int, signed: bool) -> np.ndarray:
    """A smooth radiograph-like image over nearly all of its range, noisy in the lowest bits."""
    rows, columns = np.mgrid[0 : 1 : SHAPE[0] * 1j, 0 : 1 : SHAPE[1] * 1j]
    smooth = (np.sin(3 * rows) * np.cos(2 * columns - 0.4)).clip(0, 1)
    whole = np.round(smooth * (2**bits - 5)) + np.random.default_rng(bits).integers(0, 4, SHAPE)
    dtype = np.uint8 if bits == 8 else np.int16 if signed else np.uint16
    return (whole - (2 ** (bits - 1) if signed else 0)).astype(dtype)


def radiograph(pixels: np.ndarray, bits: int, photometric: str = "MONOCHROME2", **elements) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    dataset.SOPClassUID = uid.DigitalXRayImageStorageForPresentation
    dataset.SOPInstanceUID, dataset.Modality = uid.generate_uid(), "DX"
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, photometric
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = pixels.dtype.itemsize * 8, bits, bits - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    dataset.PixelData = pixels.tobytes()
    dataset["PixelData"].VR = "OB" if pixels.dtype.itemsize == 1 else "OW"
    for name, value in elements.items():
        setattr(dataset, name, value)
    return dataset


def save(dataset: Dataset, path, syntax: str = "ExplicitVRLittleEndian"):
    """Write in a transfer syntax, compressed by pydicom's encoders, by GDCM or by Pillow."""
    wanted = getattr(uid, syntax)
    if syntax.startswith("JPEGLossless"):
        dataset.save_as(path, enforce_file_format=True)
        return transcoded(path, syntax)
    if syntax == "JPEGBaseline8Bit":
        jpeg = io.BytesIO()
        Image.fromarray(dataset.pixel_array).save(jpeg, "JPEG", quality=90)
        dataset.PixelData, dataset["PixelData"].VR = encapsulate([jpeg.getvalue()]), "OB"
    elif wanted.is_compressed and wanted.is_encapsulated:
        dataset.compress(wanted, generate_instance_uid=False, **({"j2k_cr": [4]} if syntax == "JPEG2000" else {}))
    elif not wanted.is_little_endian:
        order = dataset.pixel_array.dtype.newbyteorder(">")
        dataset.PixelData = dataset.pixel_array.astype(order).tobytes()
        for table in (dataset.get(name) for name in ("VOILUTSequence", "ModalityLUTSequence")):
            for item in table or ():
                item.LUTData = np.frombuffer(item.LUTData, "<u2").astype(">u2").tobytes()
    dataset.file_meta.TransferSyntaxUID = wanted
    pydicom.dcmwrite(path, dataset, enforce_file_format=True)
    return path


def transcoded(path, syntax: str):
    gdcm = pytest.importorskip("gdcm")
    kinds = {"JPEGLossless": "JPEGLosslessProcess14", "JPEGLosslessSV1": "JPEGLosslessProcess14_1"}
    reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
    reader.SetFileName(str(path))
    assert reader.Read()
    change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, kinds[syntax])))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    writer.SetFileName(str(path))
    assert writer.Write()
    assert pydicom.dcmread(path).file_meta.TransferSyntaxUID == getattr(uid, syntax)
    return path


def oracle(path) -> np.ndarray:
    """highdicom's frame as 0..1; without a VOI stretched as read_dicom promises."""
    image = highdicom.imread(path)
    frame = image.get_frame(1, apply_voi_transform=None, apply_presentation_lut=True, dtype=np.float64)
    if "WindowCenter" in image or "VOILUTSequence" in image:
        return frame
    return frame / 255 if image.BitsAllocated == 8 else (frame - frame.min()) / np.ptp(frame)


def agree(path) -> np.ndarray:
    shown = read_dicom(path)
    assert np.abs(shown - oracle(path)).max() <= GREY
    assert np.ptp(shown) > 0.3
    return shown


@pytest.mark.parametrize("kind", STORED)
@pytest.mark.parametrize("syntax", LOSSLESS)
def test_every_lossless_syntax(tmp_path, syntax, kind):
    bits, signed = STORED[kind]
    pixels = values(bits, signed)
    window = {"WindowCenter": float(pixels.mean()), "WindowWidth": 2.0**bits}
    plain = read_dicom(save(radiograph(pixels, bits, **window), tmp_path / "plain.dcm"))
    path = save(radiograph(pixels, bits, **window), tmp_path / "a.dcm", syntax)
    # highdicom refuses big endian
    shown = read_dicom(path) if syntax == "ExplicitVRBigEndian" else agree(path)
    np.testing.assert_array_equal(shown, plain)


@pytest.mark.parametrize(
    ("syntax", "bits"),
    [("JPEGBaseline8Bit", 8), ("JPEG2000", 12), ("JPEGLSNearLossless", 8)],
)
def test_every_lossy_syntax(tmp_path, syntax, bits):
    window = {"WindowCenter": 2.0 ** (bits - 1), "WindowWidth": 2.0**bits}
    dataset = radiograph(values(bits, False), bits, **window)
    plain = read_dicom(save(dataset, tmp_path / "plain.dcm"))
    assert np.abs(agree(save(dataset, tmp_path / "a.dcm", syntax)) - plain).max() < 0.05


# 12-bit lossy JPEG (process 4) of 100 x row + 50 x column, 24 x 32, by DCMTK 3.6.7, which reads it back within 1
TWELVE_BIT = (
    "|JeWF01!$>Nk#wx0RR9200961|JwjV00RO70|EjA0|NsD0|NvF2n7WM1O*BQ2L=cX3JeSj3JVJj4iXRz4iOFu3lJ6%5fc;@6%`B*7Z?^4"
    "7!ni}6#u~h3k(1l03ZPY5di<h02KfM0RR9100000000000000B4FALc91s8i1_J;90000000000000093MV#1Q(<xc+5iXv0RR9$0Dy>%"
    "(BU6%@zmym6%o1|Bkle=oX|qDH$#MdzsFOW2v$buaF4h6>T^K#2;B}5_WuAKPG})n8==BJ-{Yyx1S%tRI7i$3bvdAgWNwED`+tt7G!IaX"
    "(BU6%@zmym6_L6eBkle=oX|qDH$#MdzsFOW2vkPsaF4h6>T^T?|Je"
)


def twelve_bit(jpeg: bytes) -> Dataset:
    rows, columns = np.mgrid[0:24, 0:32]
    dataset = radiograph((100 * rows + 50 * columns).astype(np.uint16), 12, WindowCenter=2048, WindowWidth=4096)
    dataset.PixelData, dataset["PixelData"].VR = encapsulate([jpeg]), "OB"
    dataset.file_meta.TransferSyntaxUID = uid.JPEGExtended12Bit
    return dataset


def test_lossy_jpeg_of_twelve_bits(tmp_path, capfd):
    pytest.importorskip("gdcm")
    dataset = twelve_bit(base64.b85decode(TWELVE_BIT))
    pydicom.dcmwrite(tmp_path / "a.dcm", dataset, enforce_file_format=True)
    rows, columns = np.mgrid[0:24, 0:32]
    expected = (100 * rows + 50 * columns - 2048 + 0.5) / 4095 + 0.5
    assert np.abs(read_dicom(tmp_path / "a.dcm") * 4095 - expected * 4095).max() <= 1.01
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_damaged_jpeg_of_twelve_bits_is_refused(tmp_path, share):
    pytest.importorskip("gdcm")
    data = base64.b85decode(TWELVE_BIT)
    pydicom.dcmwrite(tmp_path / "a.dcm", twelve_bit(data[: int(share * len(data))] + b"\0\0"), enforce_file_format=True)
    with pytest.raises(UserError, match="a.dcm: cannot decode the pixel data"):
        read_dicom(tmp_path / "a.dcm")


@pytest.mark.parametrize("element", [{"BitsStored": 10}, {"PixelRepresentation": 1}, {"SamplesPerPixel": 3}])
def test_other_deep_lossy_jpeg_is_refused(tmp_path, element):
    pytest.importorskip("gdcm")
    dataset = twelve_bit(base64.b85decode(TWELVE_BIT))
    for name, value in element.items():
        setattr(dataset, name, value)
    pydicom.dcmwrite(tmp_path / "a.dcm", dataset, enforce_file_format=True)
    with pytest.raises(UserError, match="12-bit JPEG must be grey, unsigned and of 12 bits"):
        read_dicom(tmp_path / "a.dcm")


def table(entries: np.ndarray, first: int, bits: int) -> Dataset:
    item = Dataset()
    item.LUTDescriptor = [len(entries) % 2**16, first, bits]
    item.LUTData = entries.astype("u1" if bits == 8 else "<u2").tobytes()
    item.ModalityLUTType, item.LUTExplanation = "US", "test"
    item["LUTDescriptor"].VR, item["LUTData"].VR = "SS" if first < 0 else "US", "OW"
    return item


# highdicom knows entries of 8 and 16 bits only; tests/data/test_dicom.py has one of 12
CURVE = (np.linspace(0, 1, 4096) ** 2 * 65535).round()
KINDS = {
    "no voi": {},
    "linear": WINDOWS,
    "linear exact": WINDOWS | {"VOILUTFunction": "LINEAR_EXACT"},
    "sigmoid": WINDOWS | {"VOILUTFunction": "SIGMOID"},
    "several windows": {"WindowCenter": [900, 3000], "WindowWidth": [1500, 100]},
    "rescale": WINDOWS | {"RescaleSlope": 0.5, "RescaleIntercept": -100, "RescaleType": "US"},
    "falling rescale": WINDOWS | {"RescaleSlope": -1, "RescaleIntercept": 2500, "RescaleType": "US"},
    "voi table": {"VOILUTSequence": [table(CURVE, 0, 16)]},
    "short voi table": {"VOILUTSequence": [table(CURVE[::4], 500, 16)]},
    "voi table of 8 bit": {"VOILUTSequence": [table(CURVE // 256, 0, 8)]},
    "two voi tables": {"VOILUTSequence": [table(CURVE, 0, 16), table(CURVE * 0, 0, 16)]},
    "modality table": WINDOWS | {"ModalityLUTSequence": [table(4095 - CURVE // 16, 0, 16)]},
    "rescale and table": {
        **{"RescaleSlope": 1, "RescaleIntercept": -1000, "RescaleType": "US"},
        "VOILUTSequence": [table(CURVE, -1000, 16)],
    },
}


@pytest.mark.parametrize("shape", ["MONOCHROME2", "MONOCHROME1", "INVERSE", "IDENTITY of MONOCHROME1"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_table(tmp_path, kind, shape):
    elements = dict(KINDS[kind])
    if shape.startswith("I"):
        elements["PresentationLUTShape"] = shape.split()[0]
    photometric = "MONOCHROME1" if shape.endswith("1") else "MONOCHROME2"
    agree(save(radiograph(values(12, False), 12, photometric, **elements), tmp_path / "a.dcm"))


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_a_modality_table_goes_before_a_voi_table(tmp_path, photometric):
    # in closed form: highdicom neither scales nor inverts where it joins the two
    tables = {"ModalityLUTSequence": [table(CURVE // 16, 0, 16)], "VOILUTSequence": [table(CURVE, 0, 16)]}
    pixels = values(12, False)
    shown = read_dicom(save(radiograph(pixels, 12, photometric, **tables), tmp_path / "a.dcm"))
    expected = CURVE[(CURVE // 16).astype(int)[pixels]] / 65535
    np.testing.assert_allclose(shown, 1 - expected if photometric == "MONOCHROME1" else expected, atol=1e-6)


@pytest.mark.parametrize(
    "syntax", ["ImplicitVRLittleEndian", "ExplicitVRBigEndian", "JPEGLSLossless", "JPEGLosslessSV1"]
)
@pytest.mark.parametrize("kind", ["voi table", "rescale and table", "modality table"])
def test_tables_in_other_syntaxes(tmp_path, kind, syntax):
    dataset = radiograph(values(12, False), 12, **{name: value for name, value in KINDS[kind].items()})
    plain = read_dicom(save(dataset, tmp_path / "plain.dcm"))
    copy = pydicom.dcmread(tmp_path / "plain.dcm")
    np.testing.assert_array_equal(read_dicom(save(copy, tmp_path / "a.dcm", syntax)), plain)

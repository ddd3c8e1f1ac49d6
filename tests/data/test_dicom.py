import json
import math

import numpy as np
import pytest

from gen.data.dicom import read_dicom
from gen.data.dicom_writing import LEFT_EMPTY, WRITTEN_TAGS, write_synthetic_dicom
from gen.data.images import prepare, prepare_array, read_image
from gen.errors import UserError

pydicom = pytest.importorskip("pydicom")
from pydicom.dataset import Dataset, FileMetaDataset  # noqa: E402
from pydicom.uid import (  # noqa: E402
    CTImageStorage,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
    generate_uid,
)

RAMP = np.arange(4096, dtype=np.uint16).reshape(64, 64)


def header(pixels: np.ndarray, bits: int, photometric: str = "MONOCHROME2", **elements) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset.Modality = "DX"
    dataset.PhotometricInterpretation = photometric
    dataset.Rows, dataset.Columns = pixels.shape[:2]
    dataset.SamplesPerPixel = 1 if pixels.ndim == 2 else 3
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = pixels.dtype.itemsize * 8, bits, bits - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    for name, value in elements.items():
        setattr(dataset, name, value)
    dataset.PixelData = pixels.tobytes()
    dataset["PixelData"].VR = "OB" if pixels.dtype.itemsize == 1 else "OW"
    return dataset


def write(tmp_path, pixels, bits, photometric="MONOCHROME2", name="a.dcm", **elements):
    header(pixels, bits, photometric, **elements).save_as(tmp_path / name, enforce_file_format=True)
    return tmp_path / name


def linear(x, centre, width):
    """PS3.3 C.11.2.1.2.1 with output 0..1."""
    return np.clip((x - (centre - 0.5)) / (width - 1) + 0.5, 0, 1)


WINDOWS = {
    "LINEAR": linear,
    "LINEAR_EXACT": lambda x, centre, width: np.clip((x - centre) / width + 0.5, 0, 1),
    "SIGMOID": lambda x, centre, width: 1 / (1 + np.exp(-4 * (x - centre) / width)),
}


@pytest.mark.parametrize("function", WINDOWS)
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_windows_have_their_closed_form(tmp_path, function, photometric):
    path = write(tmp_path, RAMP, 12, photometric, WindowCenter=1500, WindowWidth=2000, VOILUTFunction=function)
    expected = WINDOWS[function](RAMP.astype(float), 1500, 2000)
    expected = 1 - expected if photometric == "MONOCHROME1" else expected
    np.testing.assert_allclose(read_dicom(path), expected, atol=1e-4)


@pytest.mark.parametrize("slope", [1.0, 0.5, -1.0])
def test_the_window_is_in_rescaled_units(tmp_path, slope):
    window = {"WindowCenter": 100, "WindowWidth": 1000}
    path = write(tmp_path, RAMP, 12, RescaleSlope=slope, RescaleIntercept=-50, **window)
    np.testing.assert_allclose(read_dicom(path), linear(RAMP * slope - 50, 100, 1000), atol=1e-4)


def test_signed_values(tmp_path):
    pixels = (RAMP.astype(np.int16) - 2048).astype(np.int16)
    path = write(tmp_path, pixels, 12, WindowCenter=0, WindowWidth=1000)
    np.testing.assert_allclose(read_dicom(path), linear(pixels.astype(float), 0, 1000), atol=1e-4)


def test_the_first_of_several_windows_is_taken(tmp_path):
    path = write(tmp_path, RAMP, 12, WindowCenter=[1000, 3000], WindowWidth=[500, 900])
    np.testing.assert_allclose(read_dicom(path), linear(RAMP.astype(float), 1000, 500), atol=1e-4)


def test_a_voi_table_goes_before_a_window(tmp_path):
    table = Dataset()
    table.LUTDescriptor = [4096, 0, 12]
    table.LUTData = (4095 - np.arange(4096)).astype(np.uint16).tobytes()
    table["LUTDescriptor"].VR, table["LUTData"].VR = "US", "OW"
    path = write(tmp_path, RAMP, 12, VOILUTSequence=[table], WindowCenter=10, WindowWidth=10)
    np.testing.assert_allclose(read_dicom(path), 1 - RAMP / 4095, atol=1e-6)


def test_without_a_voi_deep_images_are_stretched_and_8_bit_ones_kept(tmp_path):
    deep = (RAMP // 4 + 100).astype(np.uint16)
    np.testing.assert_allclose(read_dicom(write(tmp_path, deep, 12)), (deep - 100.0) / (deep.max() - 100), atol=1e-6)
    shallow = (RAMP // 16).astype(np.uint8)
    np.testing.assert_allclose(read_dicom(write(tmp_path, shallow, 8)), shallow / 255, atol=1e-6)


def test_padding_pixels_are_black_and_do_not_stretch(tmp_path):
    pixels = np.full((4, 4), 65535, dtype=np.uint16)
    pixels[1:3, 1:3] = [[1000, 1500], [1500, 2000]]
    path = write(tmp_path, pixels, 16, "MONOCHROME1", PixelPaddingValue=65535)
    image = read_dicom(path)
    np.testing.assert_allclose(image[1:3, 1:3], [[1, 0.5], [0.5, 0]], atol=1e-6)
    assert image[0].max() == 0 and image[:, 3].max() == 0


def test_a_constant_image_is_finite(tmp_path):
    assert np.isfinite(read_dicom(write(tmp_path, np.full((4, 4), 7, dtype=np.uint16), 12))).all()


def test_colour_becomes_grey(tmp_path):
    pixels = np.repeat(np.arange(64, dtype=np.uint8).reshape(8, 8, 1) * 4, 3, axis=2)
    path = write(tmp_path, pixels, 8, "RGB", PlanarConfiguration=0)
    np.testing.assert_allclose(read_dicom(path), pixels[..., 0] / 255, atol=1e-4)


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, JPEGLSLossless, RLELossless])
def test_compressed_pixels_equal_plain_ones(tmp_path, syntax):
    dataset = header(RAMP, 12, WindowCenter=2048, WindowWidth=4096)
    dataset.compress(syntax)
    dataset.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    np.testing.assert_allclose(read_dicom(tmp_path / "a.dcm"), linear(RAMP.astype(float), 2048, 4096), atol=1e-4)


@pytest.mark.parametrize("function", WINDOWS)
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_agrees_with_highdicom(tmp_path, function, photometric):
    highdicom = pytest.importorskip("highdicom")
    elements = {"RescaleSlope": 2, "RescaleIntercept": -100, "RescaleType": "US"}
    elements |= {"WindowCenter": 3000, "WindowWidth": 4000, "VOILUTFunction": function}
    elements |= {"PresentationLUTShape": "INVERSE" if photometric == "MONOCHROME1" else "IDENTITY"}
    path = write(tmp_path, RAMP, 12, photometric, **elements)
    frame = highdicom.imread(path).get_frame(
        1, apply_voi_transform=True, voi_output_range=(0, 1), apply_presentation_lut=True, dtype=np.float64
    )
    # highdicom folds the rescale into LINEAR windows half a stored value off the standard's formula
    np.testing.assert_allclose(read_dicom(path), frame, atol=3e-4)


def test_real_files_agree_with_highdicom_and_with_each_other(shared_data):
    folder = shared_data / "dicom_samples" / "dicom"
    plain, inverse = (read_dicom(folder / f"rsna_pa_{kind}.dcm") for kind in ("monochrome2", "fake_monochrome1"))
    np.testing.assert_allclose(inverse, 1 - plain, atol=1e-6)
    assert plain.shape == (1024, 1024) and plain.mean() > 0.2
    highdicom = pytest.importorskip("highdicom")
    frame = highdicom.imread(folder / "rsna_pa_monochrome2.dcm").get_frame(1, dtype=np.float64)
    np.testing.assert_allclose(plain, frame / 255, atol=1e-6)


@pytest.mark.parametrize("implicit", [True, False])
def test_a_missing_preamble_is_forgiven(tmp_path, implicit):
    dataset = header(RAMP, 12, WindowCenter=2048, WindowWidth=4096)
    del dataset.file_meta
    pydicom.dcmwrite(tmp_path / "a.dcm", dataset, implicit_vr=implicit, little_endian=True)
    np.testing.assert_allclose(read_dicom(tmp_path / "a.dcm"), linear(RAMP.astype(float), 2048, 4096), atol=1e-4)


def refusal(path) -> str:
    with pytest.raises(UserError) as caught:
        read_image(path)
    assert path.name in str(caught.value)
    return str(caught.value)


def test_other_files_are_refused_with_the_reason(tmp_path):
    assert "modality CT" in refusal(write(tmp_path, RAMP, 12, Modality="CT", SOPClassUID=CTImageStorage))
    two = np.concatenate([RAMP, RAMP])
    assert "2 frames" in refusal(write(tmp_path, two, 12, Rows=64, NumberOfFrames=2))
    (tmp_path / "noise.dcm").write_bytes(np.random.default_rng(0).bytes(5000))
    assert "not a DICOM image" in refusal(tmp_path / "noise.dcm")
    (tmp_path / "empty.dcm").write_bytes(b"")
    assert "not a DICOM image" in refusal(tmp_path / "empty.dcm")


def test_no_pixels(tmp_path):
    dataset = header(RAMP, 12)
    del dataset.PixelData
    dataset.save_as(tmp_path / "report.dcm", enforce_file_format=True)
    assert "without pixel data" in refusal(tmp_path / "report.dcm")


@pytest.mark.parametrize("cut", [20, 200, 450])
def test_truncated_file(tmp_path, cut):
    path = write(tmp_path, RAMP, 12)
    path.write_bytes(path.read_bytes()[:-cut])
    assert "again" in refusal(path)


def test_an_undecodable_syntax_is_named(tmp_path):
    from pydicom.encaps import encapsulate

    dataset = header(RAMP, 12)
    dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.55"  # JPEG full progression, retired
    dataset.PixelData = encapsulate([b"\xff\xd8\xff\xd9"])
    dataset["PixelData"].VR = "OB"
    dataset.save_as(tmp_path / "progressive.dcm", enforce_file_format=True)
    assert "no decoder for JPEG Full Progression" in refusal(tmp_path / "progressive.dcm")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_synthetic_file_says_so_and_reads_back(tmp_path, dtype):
    pixels = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (9, 11), dtype=dtype, endpoint=True)
    pixels[0, :2] = 0, np.iinfo(dtype).max
    record = {"prompt": "PA chest radiograph", "seed": 7}
    write_synthetic_dicom(tmp_path / "s.dcm", pixels, record, view="LATERAL", sex="F", age=64.5)
    dataset = pydicom.dcmread(tmp_path / "s.dcm")
    assert dataset.SyntheticData == "YES"
    assert list(dataset.ImageType) == ["DERIVED", "SECONDARY"]
    assert str(dataset.PatientName).startswith("SYNTHETIC^")
    assert (dataset.PatientSex, dataset.PatientAge, dataset.ViewPosition) == ("F", "064Y", "LL")
    assert json.loads(dataset.ImageComments) == record
    np.testing.assert_array_equal(dataset.pixel_array, pixels)
    np.testing.assert_allclose(read_dicom(tmp_path / "s.dcm"), pixels / np.iinfo(dtype).max, atol=1e-6)
    assert prepare(tmp_path / "s.dcm", 16).shape == (16, 16)


def test_equal_pixels_and_records_give_equal_bytes(tmp_path):
    for name in ("a", "b"):
        write_synthetic_dicom(tmp_path / name, RAMP, {"seed": 1}, age=0.5)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert pydicom.dcmread(tmp_path / "a").PatientAge == "006M"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_colour_and_floats_cannot_be_written(tmp_path):
    with pytest.raises(ValueError, match="uint8 or uint16"):
        write_synthetic_dicom(tmp_path / "a.dcm", np.zeros((4, 4)), {}, age=math.nan)
    assert not list(tmp_path.iterdir())


PATIENT = {
    **{"PatientName": "ZEBEDEE^QUINTILIAN", "PatientID": "MRN-77123456", "PatientBirthDate": "19510609"},
    **{"PatientSex": "M", "PatientAge": "071Y", "PatientAddress": "9 Xylophone Lane", "OtherPatientIDs": "ALIAS-4711"},
    **{"PatientTelephoneNumbers": "555-0199", "AccessionNumber": "ACC998877", "StudyDate": "20220310"},
    **{"StudyTime": "131415", "StudyID": "ST-5150", "ReferringPhysicianName": "GRIMALDI^OTTOLINE"},
    **{"InstitutionName": "Saint Elsewhere Infirmary", "OperatorsName": "WIGGLESWORTH", "StationName": "ROOM-9"},
    **{"PatientComments": "afraid of needles", "AdditionalPatientHistory": "gout", "EthnicGroup": "martian"},
    **{"DeviceSerialNumber": "SN-31337", "StudyDescription": "after the accident", "MilitaryRank": "corporal"},
    "StudyInstanceUID": "1.2.826.0.1.99.1",
}


def test_no_tag_of_a_source_is_written(tmp_path):
    source = write(tmp_path, RAMP, 12, **PATIENT)
    pixels = np.round(read_dicom(source) * 65535).astype(np.uint16)
    write_synthetic_dicom(tmp_path / "s.dcm", pixels, {"prompt": "PA chest radiograph", "seed": 7})
    dataset, raw = pydicom.dcmread(tmp_path / "s.dcm"), (tmp_path / "s.dcm").read_bytes()
    assert set(dataset.dir()) <= WRITTEN_TAGS
    assert [value for value in PATIENT.values() if len(value) > 1 and value.encode() in raw] == []
    assert {tag: str(dataset[tag].value or "") for tag in LEFT_EMPTY} == dict.fromkeys(LEFT_EMPTY, "")
    assert str(dataset.PatientName).startswith("SYNTHETIC^") and dataset.PatientID.startswith("SYNTHETIC-")
    assert pydicom.dcmread(source).SOPInstanceUID.encode() not in raw
    assert (dataset.PatientSex, "PatientAge" in dataset) == ("", False)


def test_what_may_be_written_names_no_other_tag_of_a_patient():
    kept = {"PatientName", "PatientID", "PatientSex", "PatientAge", "PatientBirthDate", "PatientOrientation"}
    assert {tag for tag in WRITTEN_TAGS if "Patient" in tag} == kept
    assert not {tag for tag in WRITTEN_TAGS if pydicom.datadict.tag_for_keyword(tag) is None}


def test_a_new_tag_must_be_listed(tmp_path, monkeypatch):
    import gen.data.dicom_writing

    monkeypatch.setattr(gen.data.dicom_writing, "WRITTEN_TAGS", WRITTEN_TAGS - {"ViewPosition"})
    with pytest.raises(AssertionError):
        write_synthetic_dicom(tmp_path / "s.dcm", RAMP, {})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("modality", ["CT", "MR", "US", "MG", "NM", "PX", "SR"])
def test_other_modalities_are_refused(tmp_path, modality):
    assert f"modality {modality} is no plain radiograph" in refusal(write(tmp_path, RAMP, 12, Modality=modality))


@pytest.mark.parametrize(
    ("element", "value"), [("WindowWidth", 0), ("VOILUTSequence", "short"), ("WindowCenter", "")], ids=str
)
def test_broken_tables_are_refused_or_ignored(tmp_path, element, value):
    if value == "short":
        value = Dataset()
        value.LUTDescriptor, value.LUTData = [4096, 0, 12], bytes(100)
        value["LUTDescriptor"].VR, value["LUTData"].VR = "US", "OW"
        value = [value]
    path = write(tmp_path, RAMP, 12, **({"WindowCenter": 100, "WindowWidth": 100} | {element: value}))
    if element == "WindowCenter":  # an empty window is none
        np.testing.assert_allclose(read_dicom(path), RAMP / 4095, atol=1e-6)
    else:
        assert "grey-scale tables" in refusal(path)


def test_colour_jpeg_becomes_grey(tmp_path):
    import io

    from PIL import Image
    from pydicom.encaps import encapsulate
    from pydicom.uid import JPEGBaseline8Bit

    grey = np.repeat(np.arange(0, 256, 4, dtype=np.uint8)[None], 64, axis=0)
    jpeg = io.BytesIO()
    Image.fromarray(np.stack([grey] * 3, axis=-1)).save(jpeg, "JPEG", quality=95)
    dataset = header(np.stack([grey] * 3, axis=-1), 8, "YBR_FULL_422", PlanarConfiguration=0)
    dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    dataset.PixelData, dataset["PixelData"].VR = encapsulate([jpeg.getvalue()]), "OB"
    dataset.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    np.testing.assert_allclose(read_dicom(tmp_path / "a.dcm"), grey / 255, atol=0.02)


def test_eight_bits_stay_bytes_for_a_model(tmp_path):
    pixels = np.linspace(0, 255, 32 * 32).reshape(32, 32).astype(np.uint8)
    path = write(tmp_path, pixels, 8, WindowCenter=100, WindowWidth=120)
    stored = read_image(path, for_size=16)
    assert stored.dtype == np.uint8
    np.testing.assert_allclose(stored / 255, read_dicom(path), atol=0.5 / 255 + 1e-6)
    assert read_image(write(tmp_path, RAMP, 12), for_size=16).dtype == np.float32


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize(("window", "reduced"), [((), True), ((128, 256), True), ((90, 60), False)])
def test_a_jpeg_is_decoded_small_where_its_grey_scale_is_straight(tmp_path, photometric, window, reduced):
    import io

    from PIL import Image
    from pydicom.encaps import encapsulate
    from pydicom.uid import JPEGBaseline8Bit

    y, x = np.mgrid[:640, :512]
    pixels = (120 + 80 * np.sin(x / 60) * np.cos(y / 90)).astype(np.uint8)
    elements = dict(zip(("WindowCenter", "WindowWidth"), window, strict=False))
    dataset = header(pixels, 8, photometric, **elements)
    jpeg = io.BytesIO()
    Image.fromarray(pixels).save(jpeg, "JPEG", quality=95)
    dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    dataset.PixelData, dataset["PixelData"].VR = encapsulate([jpeg.getvalue()]), "OB"
    path = tmp_path / "film.dcm"
    dataset.save_as(path, enforce_file_format=True)
    assert read_image(path).shape == (640, 512)
    assert read_image(path, for_size=64).shape == ((160, 128) if reduced else (640, 512))
    whole = prepare_array(read_image(path), 64)
    assert np.abs(prepare(path, 64) - whole).max() < 3 / 127.5

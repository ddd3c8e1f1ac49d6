import numpy as np
import pytest

from gen.data.annotations import decode_runs, read_beside, read_mask
from gen.data.building import build_index
from gen.data.index import check_index
from gen.data.sources import paxray, rsna_pneumonia, siim_pneumothorax, tbx11k, vindr_cxr
from gen.errors import UserError

RSNA = """
    patientId,x,y,width,height,Target
    aaa,,,,,0
    bbb,264.0,152.0,213.0,379.0,1
    bbb,562.0,152.0,256.0,453.0,1
    ddd,,,,,0
"""
CLASSES = "patientId,class\naaa,No Lung Opacity / Not Normal\nbbb,Lung Opacity\nbbb,Lung Opacity\nddd,Normal\n"
MAPPING = [
    {"subset_img_id": "aaa", "img_id": "00000001_000.png", "dataset": "training"},
    {"subset_img_id": "bbb", "img_id": "00000002_004.png", "dataset": "training"},
    {"subset_img_id": "ccc", "img_id": "00000002_005.png", "dataset": "test"},
    {"subset_img_id": "ddd", "img_id": "00000003_000.png", "dataset": "training"},
]


def test_rsna(tree):
    header = {"PatientID": "aaa", "PatientSex": "F", "PatientAge": "51", "ViewPosition": "PA"}
    files = {f"stage_2_train_images/{name}.dcm": header for name in ("aaa", "bbb", "ddd")}
    files |= {"stage_2_test_images/ccc.dcm": {"PatientSex": "M", "PatientAge": "048Y", "ViewPosition": "AP"}}
    files |= {"stage_2_train_labels.csv": RSNA, "stage_2_detailed_class_info.csv": CLASSES}
    tables = rsna_pneumonia.read(tree(files))
    rows = tables.rows.set_index("study_id")
    assert check_index(tables.rows) == []
    assert rows["findings"].to_dict() == {"aaa": "", "bbb": "Lung Opacity", "ddd": "No Finding", "ccc": ""}
    assert rows["split"]["ccc"] == "test" and rows["split"]["bbb"] != "test"
    assert (rows["sex"]["aaa"], rows["age"]["aaa"], rows["view"]["ccc"], rows["age"]["ccc"]) == ("F", 51, "AP", 48)
    assert tables.boxes[["x0", "y0", "x1", "y1"]].to_numpy().tolist()[0] == [264, 152, 477, 531]
    assert set(tables.boxes["image"]) == {rows["image"]["bbb"]}

    tables = rsna_pneumonia.read(tree(files | {rsna_pneumonia.MAPPING: MAPPING}))
    rows = tables.rows.set_index("study_id")
    assert rows["patient_id"]["bbb"] == rows["patient_id"]["ccc"] == "nih_00002"
    assert rows["split"]["bbb"] == "test" and rows["split"]["aaa"] != "test"


def test_siim_with_its_run_lengths(tree, tmp_path):
    files = {
        "train-rle.csv": "ImageId, EncodedPixels\n1.1,-1\n1.2, 2 3 5 2\n1.2,0 1\n",
        "dicom-images-train/s/t/1.1.dcm": {"PatientID": "p1", "PatientSex": "M", "PatientAge": "21"},
        "dicom-images-train/s/u/1.2.dcm": {"PatientID": "p2", "ViewPosition": "AP"},
        "dicom-images-test/s/v/1.3.dcm": {"PatientID": "p3"},
    }
    out = tmp_path / "index.parquet"
    rows, written = build_index("auto", [tree(files)], out)
    assert check_index(rows) == [] and any(path.endswith("masks.parquet") for path in written)
    assert rows["findings"].tolist() == ["", "Pneumothorax", ""] and rows["split"][2] == "test"
    assert rows["view"].tolist() == ["UNKNOWN", "AP", "UNKNOWN"] and rows["sex"][0] == "M"
    masks = read_beside(out, "masks")
    assert set(masks["image"]) == {rows["image"][1]} and masks["rle"].tolist() == ["2 3 10 2", "0 1"]
    mask = read_mask(masks.iloc[0], (4, 6))
    columns_first = np.zeros(24, dtype=bool)
    columns_first[[2, 3, 4, 10, 11]] = True
    assert np.array_equal(mask, columns_first.reshape(6, 4).T)
    assert decode_runs("0 1", (4, 6)).sum() == 1


def test_tbx11k(tree, tmp_path):
    coco = {
        "images": [{"id": 1, "file_name": "tb/tb0001.png"}],
        "categories": [{"id": 2, "name": "ObsoletePulmonaryTuberculosis"}],
        "annotations": [{"image_id": 1, "category_id": 2, "bbox": [10, 20.5, 30, 40]}],
    }
    files = {f"imgs/{name}": 8 for name in ("health/h0001.png", "sick/s0001.png", "tb/tb0001.png", "test/0001.png")}
    files |= {
        "lists/TBX11K_train.txt": "health/h0001.png\ntb/tb0001.png\n",
        "lists/TBX11K_val.txt": "sick/s0001.png\n",
        "annotations/json/TBX11K_train.json": coco,
    }
    rows, _ = build_index("auto", [tree(files)], tmp_path / "i.parquet")
    assert rows["findings"].tolist() == ["No Finding", "Tuberculosis", "", ""]
    assert rows["split"].tolist() == ["train", "train", "val", "test"]
    boxes = read_beside(tmp_path / "i.parquet", "boxes")
    assert boxes.iloc[0].tolist() == [rows["image"][1], "Latent Tuberculosis", 10, 20.5, 40, 60.5, ""]


def test_paxray(tree, tmp_path):
    stack = np.zeros((2, 8, 8), dtype=np.uint8)
    stack[1, 2:4, 3] = 1
    content = {
        "label_dict": {"0": "lungs", "1": "heart"},
        "train": [{"image": "images/RibFrac1_frontal.png", "target": "labels/RibFrac1_frontal.npy"}],
        "val": [],
        "test": [{"image": "images/RibFrac1_lateral.png", "target": None}],
    }
    files = {"paxray.json": content, "images/RibFrac1_frontal.png": 8, "images/RibFrac1_lateral.png": 8}
    rows, _ = build_index("auto", [tree(files | {"labels/RibFrac1_frontal.npy": stack})], tmp_path / "i.parquet")
    assert rows["view"].tolist() == ["UNKNOWN", "LATERAL"]
    assert rows["patient_id"].tolist() == ["RibFrac1"] * 2 and rows["split"].tolist() == ["test", "test"]
    masks = read_beside(tmp_path / "i.parquet", "masks").set_index("structure")
    assert read_mask(masks.loc["heart"], (8, 8)).sum() == 2 and not read_mask(masks.loc["lungs"], (8, 8)).any()
    (tmp_path / "set" / "labels" / "RibFrac1_frontal.npy").unlink()
    with pytest.raises(UserError, match="no such mask file"):
        read_mask(masks.loc["heart"], (8, 8))


READERS = """
    image_id,rad_id,Aortic enlargement,Nodule/Mass,Pleural effusion,No finding
    a1,R1,1,0,0,0
    a1,R2,1,1,0,0
    a1,R3,0,0,0,0
    b2,R1,0,0,0,1
    b2,R8,0,0,0,1
    b2,R9,0,0,0,1
"""


def test_vindr(tree):
    boxes = "image_id,rad_id,class_name,x_min,y_min,x_max,y_max\n"
    boxes += "a1,R1,Aortic enlargement,1.5,2,30,40\nb2,R1,No finding,,,,\n"
    files = {
        "train/a1.dicom": {"PatientSex": "F", "PatientAge": "061Y"},
        "train/b2.dicom": {"PatientAge": "000Y"},
        "test/c3.dicom": {},
        "annotations/image_labels_train.csv": READERS,
        "annotations/image_labels_test.csv": "image_id,Aortic enlargement,No finding\nc3,0,1\n",
        "annotations/annotations_train.csv": boxes,
        "annotations/annotations_test.csv": "image_id,class_name,x_min,y_min,x_max,y_max\nc3,No finding,,,,\n",
    }
    tables = vindr_cxr.read(tree(files))
    assert check_index(tables.rows) == []
    assert tables.rows["findings"].tolist() == ["Aortic enlargement", "No Finding", "No Finding"]
    assert tables.rows["uncertain"].tolist() == ["Nodule;Mass", "", ""] and tables.rows["split"][2] == "test"
    assert tables.rows["age"][0] == 61 and np.isnan(tables.rows["age"][1]) and tables.rows["width"][0] == 8
    assert tables.boxes.iloc[0].drop("image").tolist() == ["Aortic enlargement", 1.5, 2, 30, 40, "R1"]
    assert len(tables.boxes) == 1


def test_refusals(tree):
    with pytest.raises(UserError, match=r"stage_2_train_labels\.csv not found"):
        rsna_pneumonia.read(tree({"x.txt": ""}, "a"))
    files = {"stage_2_train_labels.csv": RSNA, rsna_pneumonia.MAPPING: [{"a": 1}]}
    with pytest.raises(UserError, match="not RSNA's mapping"):
        rsna_pneumonia.read(tree(files, "b"))
    with pytest.raises(UserError, match=r"holds no \.dcm files"):
        siim_pneumothorax.read(tree({"train-rle.csv": "ImageId,EncodedPixels\n1,-1\n"}, "c"))
    with pytest.raises(UserError, match=r"TBX11K_train\.txt: not found"):
        tbx11k.read(tree({"x.txt": ""}, "d"))
    with pytest.raises(UserError, match="not PAXRay's table"):
        paxray.read(tree({"paxray.json": "[]"}, "e"))
    with pytest.raises(UserError, match=r"image_labels_train\.csv"):
        vindr_cxr.read(tree({"x.txt": ""}, "f"))

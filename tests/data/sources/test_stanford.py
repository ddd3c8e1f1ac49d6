import numpy as np
import pytest

from gen.data.index import check_index
from gen.data.sources import chexpert, chexpert_plus, folder
from gen.data.sources.layout import CHEXPERT_LABELS
from gen.errors import UserError

HEADER = "Path,Sex,Age,Frontal/Lateral,AP/PA,No Finding,Enlarged Cardiomediastinum,Cardiomegaly,Lung Opacity,"
HEADER += "Lung Lesion,Edema,Consolidation,Pneumonia,Atelectasis,Pneumothorax,Pleural Effusion,Pleural Other,"
HEADER += "Fracture,Support Devices\n"
ROOT = "CheXpert-v1.0-small"
TRAIN = HEADER + (
    f"{ROOT}/train/patient00001/study1/view1_frontal.jpg,Female,68,Frontal,AP,1.0,,,,,,,,,0.0,,,,1.0\n"
    f"{ROOT}/train/patient00002/study2/view1_frontal.jpg,Female,0,Frontal,PA,,,-1.0,1.0,,-1.0,-1.0,,,,-1.0,,1.0,\n"
    f"{ROOT}/train/patient00002/study2/view2_lateral.jpg,Female,0,Lateral,,,,-1.0,1.0,,-1.0,-1.0,,,,-1.0,,1.0,\n"
)
VALID = HEADER + f"{ROOT}/valid/patient64541/study1/view1_frontal.jpg,Male,73,Frontal,AP,0,1,1,1,0,0,0,0,0,0,0,0,0,0\n"
IMAGES = {
    "train/patient00001/study1/view1_frontal.jpg": 8,
    "train/patient00002/study2/view1_frontal.jpg": 8,
    "train/patient00002/study2/view2_lateral.jpg": 8,
    "valid/patient64541/study1/view1_frontal.jpg": 8,
}


def test_chexpert(tree):
    rows = chexpert.read(tree(IMAGES | {"train.csv": TRAIN, "valid.csv": VALID}, ROOT)).rows
    assert check_index(rows) == []
    assert rows["split"].tolist() == ["train", "train", "train", "val"]
    assert rows["view"].tolist() == ["AP", "PA", "LATERAL", "AP"]
    assert rows["findings"][0] == "Support Devices"
    assert set(rows["findings"][1].split(";")) == {"Lung Opacity", "Fracture"}
    assert set(rows["uncertain"][1].split(";")) == {"Cardiomegaly", "Edema", "Consolidation", "Pleural Effusion"}
    assert rows["age"].tolist()[0] == 68 and np.isnan(rows["age"][1]) and rows["sex"].tolist() == ["F", "F", "F", "M"]
    assert rows["study_id"][1] == "patient00002_study2" and rows["followup_number"][1] == 2


def test_the_generic_folder_reads_one_column_a_finding(tree):
    root = tree(IMAGES | {"train.csv": TRAIN, "valid.csv": VALID}, ROOT)
    rows = folder.rows(root, root / "train.csv")
    assert set(rows["findings"][1].split(";")) == {"Lung Opacity", "Fracture"}
    assert "Edema" in rows["uncertain"][1]
    # three files are called view1_frontal.jpg: each row keeps its own
    assert [image.split("/")[-3] for image in rows["image"]] == ["patient00001", "patient00002", "patient00002"]
    assert rows["view"].tolist() == ["AP", "PA", "UNKNOWN"] and rows["sex"].tolist() == ["F"] * 3


def test_an_ambiguous_name_places_nothing(tree):
    root = tree({"a/x.png": 4, "b/x.png": 4, "t.csv": "image,Edema\na/x.png,1\nx.png,0\n"})
    with pytest.raises(UserError, match=r"1 of 2 images .*'x\.png'"):
        folder.rows(root, root / "t.csv")


def test_numbers_that_are_no_flags_are_no_labels(tree):
    root = tree({"x.png": 4, "y.png": 4, "t.csv": "image,Mass\nx.png,71.5\ny.png,1\n"})
    assert folder.rows(root, root / "t.csv")["findings"].tolist() == ["", ""]


PLUS = """
    path_to_image,path_to_dcm,frontal_lateral,ap_pa,deid_patient_id,patient_report_date_order,report,section_findings,\
section_impression,age,sex,race,split
    train/patient00002/study2/view1_frontal.jpg,x.dcm,Frontal,PA,patient00002,2,"NARRATIVE: Clear.",,,70.0,Male,x,train
    train/patient00002/study1/view1_frontal.jpg,x.dcm,Frontal,AP,patient00002,1,,Clear.,Normal.,70.0,Male,x,train
    valid/patient64541/study1/view1_lateral.jpg,x.dcm,Lateral,,patient64541,1,r,,,0.0,Unknown,x,valid
"""


def test_chexpert_plus(tree):
    label = dict.fromkeys(CHEXPERT_LABELS) | {"Edema": 1.0, "Pneumonia": -1.0}
    images = {f"PNG/{name}": 8 for name in ("train/patient00002/study2/view1_frontal.png",)}
    images |= {"PNG_train/train/patient00002/study1/view1_frontal.png": 8}
    images |= {"valid/patient64541/study1/view1_lateral.jpg": 8}
    lines = {"path_to_image": "train/patient00002/study2/view1_frontal.jpg"} | label
    root = tree(images | {"df_chexpert_plus_240401.csv": PLUS, "chexbert_labels/report_fixed.json": lines})
    rows = chexpert_plus.read(root).rows
    assert check_index(rows) == []
    assert rows["view"].tolist() == ["PA", "AP", "LATERAL"] and rows["split"].tolist() == ["train", "train", "val"]
    assert rows["report"].tolist()[:2] == ["NARRATIVE: Clear.", "FINDINGS: Clear.\nIMPRESSION: Normal."]
    assert rows["findings"].tolist() == ["Edema", "", ""] and rows["uncertain"][0] == "Pneumonia"
    assert rows["followup_number"].tolist() == [2, 1, 1] and np.isnan(rows["age"][2]) and rows["sex"][2] == ""


def test_refusals(tree):
    with pytest.raises(UserError, match=r"train\.csv and valid\.csv not found"):
        chexpert.read(tree({"x.txt": ""}, "a"))
    with pytest.raises(UserError, match=r"train\.csv: column 'Sex' is missing"):
        chexpert.read(tree({"train.csv": "Path,Age\nx,1\n"}, "b"))
    with pytest.raises(UserError, match=r"df_chexpert_plus.* not found"):
        chexpert_plus.read(tree({"x.txt": ""}, "c"))
    with pytest.raises(UserError, match=r"report_fixed\.json: not JSON lines"):
        chexpert_plus.read(tree({"df_chexpert_plus_1.csv": PLUS, "report_fixed.json": "{"}, "d"))

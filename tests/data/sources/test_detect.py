import sys

import pandas as pd
import pytest

from gen.data import cli
from gen.data.annotations import read_beside, read_mask
from gen.data.building import build_index
from gen.data.images import read_image
from gen.data.index import read_index
from gen.data.sources import SOURCES, detect
from gen.data.sources.folder import TableOf
from gen.errors import UserError

TELLING = {
    "mimic_cxr": {"mimic-cxr-2.0.0-metadata.csv.gz": "dicom_id\n"},
    "chexpert": {"train.csv": "Path,Sex,Age,Frontal/Lateral,AP/PA\n"},
    "chexpert_plus": {"df_chexpert_plus_240401.csv": "path_to_image\n"},
    "nih_cxr14": {"Data_Entry_2017_v2020.csv": "Image Index\n"},
    "vindr_cxr": {"annotations/image_labels_train.csv": "image_id,rad_id\n"},
    "padchest": {"PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv": "ImageID\n"},
    "openi": {"indiana_reports.csv": "uid\n"},
    "rsna_pneumonia": {"stage_2_train_labels.csv": "patientId\n"},
    "siim_pneumothorax": {"stage_2_train.csv": "ImageId,EncodedPixels\n"},
    "tbx11k": {"lists/TBX11K_train.txt": "\n"},
    "paxray": {"paxray_dataset/paxray.json": "{}"},
    "kermany_paediatric": {"train/NORMAL/IM-0115-0001.jpeg": 4},
    "covid_chestxray": {"metadata.csv": "patientid,offset,clinical_notes\n"},
    "hannover_mhh": {"data.csv": "patient_id,image_id,admission_offset\n"},
    "jsrt": {"All247images/JPCLN001.IMG": b""},
    "bone_suppression": {"BS/0.png": 4, "CXR/0.png": 4},
}


@pytest.mark.parametrize("name", TELLING)
def test_each_layout_is_recognised_as_itself_alone(tree, name):
    assert detect(tree(TELLING[name], "downloads")) == name


def test_every_source_can_be_recognised():
    assert set(TELLING) == set(SOURCES) - {"nih_cxr14_more"}


def test_what_is_unknown_or_doubtful_is_refused(tree, tmp_path):
    with pytest.raises(UserError, match="looks like none of the known sources"):
        detect(tree({"train.csv": "image_id,class_name\n", "notes.txt": ""}, "vinbig"))
    with pytest.raises(UserError, match="looks like .* and "):
        detect(tree(TELLING["openi"] | TELLING["tbx11k"], "both"))
    with pytest.raises(UserError, match="no such folder"):
        detect(tmp_path / "none")


def test_prepared_folders_with_boxes_and_masks(shared_data, tmp_path):
    out = tmp_path / "index.parquet"
    folders = [shared_data / name for name in ("nih_cxr14_more", "hannover_mhh")]
    rows, _ = build_index("auto", folders, out)
    boxes, masks = read_beside(out, "boxes"), read_beside(out, "masks")
    assert (len(boxes), len(masks)) == (834, 64)
    assert set(boxes["image"]) | set(masks["image"]) <= set(rows["image"])
    joined = boxes.merge(read_index(out), on="image")
    assert ((joined["x0"] >= -0.5) & (joined["x1"] <= joined["width"] + 0.5)).all()
    image = read_image(masks["image"][0])
    assert read_mask(masks.iloc[0], image.shape).mean() == pytest.approx(0.3364, abs=1e-3)


def test_absent_images_are_named_or_left_out(tree, tmp_path):
    files = {"Data_Entry_2017.csv": "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,"}
    files["Data_Entry_2017.csv"] += "View Position\n1_0.png,Mass,0,1,50,M,PA\n2_0.png,Mass,0,2,50,M,PA\n"
    files |= {
        "images/1_0.png": 8,
        "BBox_List_2017.csv": "Image Index,Finding Label,Bbox [x,y,w,h],,,\n2_0.png,Mass,1,1,1,1\n",
    }
    root, out = tree(files), tmp_path / "i.parquet"
    with pytest.raises(UserError, match=r"row 2: no such image file .*2_0\.png"):
        build_index("nih_cxr14", [root], out)
    rows, _ = build_index("nih_cxr14", [root], out, TableOf(skip_missing=True))
    assert len(rows) == 1 and len(read_beside(out, "boxes")) == 0
    (root / "images" / "1_0.png").unlink()
    with pytest.raises(UserError, match="none of the 2 listed images is there"):
        build_index("nih_cxr14", [root], out, TableOf(skip_missing=True))
    assert (tmp_path / "i.boxes.parquet").exists() and not (tmp_path / "boxes.parquet").exists()
    with pytest.raises(UserError, match="no masks beside this index"):
        read_beside(out, "masks")
    with pytest.raises(UserError, match="--csv and --map belong"):
        build_index("nih_cxr14", [root], out, TableOf(csv=root / "x.csv"))


def test_an_index_built_anew_forgets_the_boxes_of_the_old(tree, shared_data, tmp_path):
    out = tmp_path / "index.csv"
    build_index("auto", [shared_data / "nih_cxr14_more"], out)
    assert (tmp_path / "boxes.parquet").exists()
    build_index("folder", [tree({"a.png": 8})], out)
    assert not (tmp_path / "boxes.parquet").exists()


def test_the_list_of_sources(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["cxr-index", "sources"])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    text = capsys.readouterr().out
    assert not caught.value.code
    assert all(name in text and adapter.licence in text for name, adapter in SOURCES.items())


def test_columns_of_different_sources_fit_one_index(tree, tmp_path):
    pairs = tree({"BS/0.png": 8, "CXR/0.png": 8}, "pairs")
    plain = tree({"a.png": 8}, "plain")
    first, _ = build_index("auto", [pairs], tmp_path / "a.csv")
    second, _ = build_index("folder", [plain], tmp_path / "b.csv")
    both = pd.concat([first, second], ignore_index=True)
    both.to_csv(tmp_path / "both.csv", index=False)
    assert read_index(tmp_path / "both.csv")["soft"].tolist()[1] == ""

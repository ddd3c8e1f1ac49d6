import numpy as np
import pandas as pd
import pytest

from gen.data.annotations import write_events
from gen.data.events import EventTable, read_events
from gen.data.index import check_index
from gen.data.sources import covid_chestxray, hannover_mhh, kermany_paediatric, nih_cxr14, openi, padchest
from gen.errors import UserError

NIH = """
    Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,OriginalImage[Width,\
Height],OriginalImagePixelSpacing[x,y],
    00000001_000.png,Cardiomegaly,0,1,058Y,M,PA,2682,2749,0.143,0.143,
    00000001_001.png,Cardiomegaly|Emphysema,1,1,58,M,PA,2894,2729,0.143,0.143,
    00000002_000.png,No Finding,0,2,413,F,AP,2500,2048,0.168,0.168,
"""
NIH_BOXES = "Image Index,Finding Label,Bbox [x,y,w,h],,,\n00000001_000.png,Cardiomegaly,225.1,547.0,86.8,79.2,,,\n"


def test_nih_official(tree):
    root = tree(
        {
            "Data_Entry_2017_v2020.csv": NIH,
            "BBox_List_2017.csv": NIH_BOXES,
            "train_val_list.txt": "00000001_000.png\n00000001_001.png\n",
            "test_list.txt": "00000002_000.png\n",
            "images_001/images/00000001_000.png": 8,
            "images_001/images/00000001_001.png": 8,
            "images_002/images/00000002_000.png": 8,
        }
    )
    tables = nih_cxr14.read(root)
    rows = tables.rows
    assert check_index(rows) == []
    assert rows["age"].tolist()[:2] == [58, 58] and np.isnan(rows["age"][2])
    assert rows["split"][2] == "test" and rows["split"][0] == rows["split"][1] != "test"
    assert rows["findings"][1] == "Cardiomegaly;Emphysema" and rows["followup_number"].tolist() == [0, 1, 0]
    assert rows["patient_id"].tolist() == ["nih_00001", "nih_00001", "nih_00002"] and rows["may_ship"].all()
    box = tables.boxes.iloc[0]
    assert box["image"] == rows["image"][0] and [box["x1"], box["y1"]] == [pytest.approx(311.9), pytest.approx(626.2)]


def test_nih_patients_without_lists_are_divided_by_hash(tree):
    files = {"Data_Entry_2017.csv": NIH, "images/00000001_000.png": 8, "images/00000001_001.png": 8}
    rows = nih_cxr14.read(tree(files)).rows
    assert rows["split"].isin(["train", "val", "test"]).all()
    assert "row 3: no such image file" in check_index(rows)[0] and "00000002_000.png" in check_index(rows)[0]


def test_padchest(tree):
    header = "ImageID,ImageDir,StudyDate_DICOM,StudyID,PatientID,PatientBirth,PatientSex_DICOM,ViewPosition_DICOM,"
    header += "Projection,MethodProjection,Pediatric,Report,MethodLabel,Labels\n"
    lines = [
        "a.png,0,20140915,s1,p1,1939.0,F,POSTEROANTERIOR,PA,Manual,No,sin hallazg,Physician,\"['pleural effusion', "
        "'infiltrates', 'unchanged']\"",
        "b.png,0,20140919,s2,p1,1939.0,F,LATERAL,L,Manual,No,dren,Physician,\"['chest drain tube', 'central venous "
        "catheter via jugular vein']\"",
        "c.png,1,20140101,s3,p2,,M,,AP_horizontal,Manual,No,,Physician,['normal']",
        "d.png,1,20140101,s3,p2,,M,,COSTAL,Manual,No,,Physician,['normal']",
        "e.png,1,20140101,s4,p3,2012,O,,EXCLUDE,Manual,PED,,RNN_model,['exclude']",
    ]
    name = "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv.gz"
    root = tree({name: header + "\n".join(lines), "0/a.png": 8, "0/b.png": 8, "1/c.png": 8, "1/d.png": 8, "1/e.png": 8})
    rows = padchest.read(root).rows
    assert check_index(rows) == []
    assert rows["view"].tolist() == ["PA", "LATERAL", "AP SUPINE"]
    assert rows["findings"].tolist() == ["Pleural Effusion;Infiltration", "Support Devices", "No Finding"]
    assert rows["age"].tolist()[:2] == [75, 75] and rows["offset_days"].tolist() == [0, 4, 0]
    assert rows["report_es"][0] == "sin hallazg" and (rows["report"] == "").all()


XML = """
    <eCitation><MedlineCitation><Article><Abstract>
    <AbstractText Label="COMPARISON">None.</AbstractText><AbstractText Label="INDICATION"/>
    <AbstractText Label="FINDINGS">Mild cardiomegaly.</AbstractText>
    <AbstractText Label="IMPRESSION">Cardiomegaly &amp; nothing else.</AbstractText>
    </Abstract></Article></MedlineCitation>
    <MeSH><major>Cardiomegaly/mild</major><major>Fractures, Bone/ribs</major>
    <major>Lung/hypoinflation</major><automatic>heart</automatic></MeSH>
    <parentImage id="CXR7_IM-2263-1001"><caption>Xray Chest PA and Lateral</caption></parentImage>
    <parentImage id="CXR7_IM-2263-2001"><caption>Chest, lateral</caption></parentImage></eCitation>
"""


def test_openi_in_xml(tree):
    images = {"NLMCXR_png/CXR7_IM-2263-1001.png": 8, "NLMCXR_png/CXR7_IM-2263-2001.png": 8}
    rows = openi.read(tree(images | {"NLMCXR_reports/ecgen-radiology/7.xml": XML})).rows
    assert check_index(rows) == []
    assert rows["view"].tolist() == ["UNKNOWN", "LATERAL"] and rows["findings"][0] == "Cardiomegaly;Fracture"
    expected = "COMPARISON: None.\nFINDINGS: Mild cardiomegaly.\nIMPRESSION: Cardiomegaly & nothing else."
    assert rows["report"][0] == expected and rows["patient_id"].nunique() == 1


def test_openi_in_csv(tree):
    reports = "uid,MeSH,Problems,image,indication,comparison,findings,impression\n"
    reports += '1,normal,normal,Xray Chest PA,Cough.,None.,Clear.,"Normal, really."\n'
    images = "uid,filename,projection\n1,1_IM-0001-4001.dcm.png,Frontal\n1,1_IM-0001-3001.dcm.png,Lateral\n"
    files = {"images/images_normalized/1_IM-0001-4001.dcm.png": 8, "images/images_normalized/1_IM-0001-3001.dcm.png": 8}
    files |= {"indiana_reports.csv": reports, "indiana_projections.csv": images, "splits.csv": "uid,split\n1,val\n"}
    rows = openi.read(tree(files)).rows
    assert check_index(rows) == []
    assert rows["view"].tolist() == ["UNKNOWN", "LATERAL"] and rows["split"].tolist() == ["val", "val"]
    assert rows["findings"].tolist() == ["No Finding"] * 2 and "IMPRESSION: Normal, really." in rows["report"][0]


def test_openi_on_the_real_tables(shared_data):
    rows = openi.read(shared_data / "openi_reports_text").rows
    assert len(rows) == 7466 and rows["patient_id"].nunique() == 3851
    assert rows.groupby("patient_id")["split"].nunique().max() == 1
    assert (rows["view"] == "LATERAL").sum() == 3648 and (rows["findings"] == "No Finding").sum() > 2500
    counts = rows["findings"].str.split(";").explode().value_counts()
    assert counts["Cardiomegaly"] > 500 and counts["Pleural Effusion"] > 200


def test_kermany_official(tree):
    root = tree(
        {
            "chest_xray/train/NORMAL/IM-0115-0001.jpeg": 8,
            "chest_xray/train/NORMAL/NORMAL2-IM-0927-0001.jpeg": 8,
            "chest_xray/train/PNEUMONIA/person1_bacteria_1.jpeg": 8,
            "chest_xray/train/PNEUMONIA/person2_bacteria_3.jpeg": 8,
            "chest_xray/test/PNEUMONIA/person1_virus_6.jpeg": 8,
            "chest_xray/test/NORMAL/NORMAL-28501-0001.jpeg": 8,
        }
    )
    rows = kermany_paediatric.read(root).rows.set_index("study_id")
    assert check_index(rows.reset_index()) == []
    assert rows["split"]["person1_bacteria_1"] == rows["split"]["person1_virus_6"] == "test"
    assert rows["split"]["person2_bacteria_3"] != "test"
    assert rows["findings"]["person1_virus_6"] == "Viral Pneumonia" and rows["findings"]["IM-0115-0001"] == "No Finding"
    assert rows["patient_id"]["NORMAL2-IM-0927-0001"] == "ker_NORMAL2-IM-0927"
    assert (rows["age_group"] == "child").all() and rows["may_ship"].all()


COVID = """
    patientid,offset,sex,age,finding,RT_PCR_positive,survival,view,modality,date,location,folder,filename,doi,url,license,\
clinical_notes,temperature,intubation_present,
    2,0,M,65,Pneumonia/Viral/COVID-19,Y,Y,PA,X-ray,2020,Vietnam,images,a.jpg,,http://x,CC BY-NC-SA,"Fever, cough.",38.5,
    2,3,M,65,Pneumonia/Bacterial,Y,Y,AP Supine,X-ray,2020,Vietnam,images,b.jpg,,http://x,CC BY 4.0,,?,Y,
    2,,M,65,todo,Y,Y,L,X-ray,2020,Vietnam,images,c.jpg,,http://x,,,,
    3,,M,65,Pneumonia/Viral/COVID-19,Y,Y,Axial,CT,2020,Vietnam,volumes,d.nii.gz,,http://x,CC0,A scan.,,,
"""


def test_covid_official(tree):
    images = {"images/a.jpg": 8, "images/b.jpg": 8, "images/c.jpg": 8}
    rows = covid_chestxray.read(tree(images | {"metadata.csv": COVID})).rows
    assert check_index(rows) == []
    assert rows["findings"].tolist() == ["COVID-19", "Bacterial Pneumonia", ""]
    assert rows["view"].tolist() == ["PA", "AP SUPINE", "LATERAL"] and rows["report"][0] == "Fever, cough."
    assert rows["offset_days"].tolist()[:2] == [0, 3] and rows["may_ship"].tolist() == [False, True, False]
    assert rows["licence"].tolist() == ["CC BY-NC-SA", "CC BY 4.0", "not stated"]


def test_covid_notes_and_measurements_are_events_of_their_study(tree, tmp_path):
    official = covid_chestxray.read(tree({"metadata.csv": COVID}, "official"))
    events = pd.concat(official.events)
    assert events[["study_id", "kind", "name"]].to_numpy().tolist() == [
        ["cov_2_0", "note", "Fever, cough."],
        ["cov_2_0", "measured", "temperature"],
        ["cov_2_3", "care", "intubated"],
    ]
    assert events["value"].tolist()[1] == 38.5 and events["unit"].tolist() == ["", "C", ""]
    assert events["hours"].tolist() == [0.1, 0, 0] and (events["patient_id"] == "cov_2").all()
    path, _ = write_events([events], tmp_path / "index.parquet")
    prior, target = official.rows.iloc[:2].to_dict("records")
    known = EventTable(read_events(path)).between(prior, target, gap=72.0, history=24.0)
    told = [(72.0, "measured temperature 38.5 C"), (71.9, "note Fever, cough."), (0.0, "care intubated")]
    assert [(event.before, event.words()) for event in known] == told
    back = EventTable(read_events(path)).between(target, prior, gap=72.0, history=24.0)
    assert "note Fever, cough." not in [event.code for event in back]  # it says what would be predicted
    head = "image,patient_id,study_id,offset_days,split,report,temperature,intubation_present\n"
    rows = "images/a.jpg,cov_2,cov_2_0,0,test,Fever,38.5,N\nimages/b.jpg,cov_2,cov_2_3,3,test,,,Y\n"
    prepared = covid_chestxray.read(
        tree({"images/a.jpg": 8, "images/b.jpg": 8, "metadata.csv": head + rows}, "prepared")
    )
    rows = pd.concat(prepared.events)
    assert rows["name"].tolist() == ["Fever", "temperature", "intubated"]
    series = head + "images/a.jpg,cov_2,cov_2_0,0,test,Worse later,,\nimages/b.jpg,cov_2,cov_2_3,3,test,Worse later,,\n"
    told = covid_chestxray.read(tree({"images/a.jpg": 8, "images/b.jpg": 8, "metadata.csv": series}, "series"))
    assert pd.concat(told.events).empty  # a note of a whole series tells its end at its beginning
    bare = covid_chestxray.read(tree({"metadata.csv": "image,patient_id,split\na.png,p,test\n"}, "none"))
    assert pd.concat(bare.events).empty


HANNOVER = """
    patient_id,image_id,sex,age,size,weight,admission_offset,icu_admission_offset,icu_release_offset,death_offset,\
modality,projection,crp_offset,crp_val,d-dimer_offset,d-dimer_val
    042f06a9,b343e657,m,,,,0,0.0,4.0,,CR,ap,0.0,5.0,,
    042f06a9,c9280a30,w,,,,-2,-2.0,2.0,,CR,pa,-1.0,-inf,0.0,inf
"""


def test_hannover_official(tree):
    images = {"png/b343e657.png": 8, "png/c9280a30.png": 8}
    tables = hannover_mhh.read(tree(images | {"data.csv": HANNOVER}))
    assert check_index(tables.rows) == []
    assert tables.rows["offset_days"].tolist() == [0, 2] and tables.rows["view"].tolist() == ["AP", "PA"]
    assert tables.rows["sex"].tolist() == ["M", "F"] and tables.rows["may_ship"].all()
    events = pd.concat(tables.events)
    crp = events[events["name"] == "crp"]
    assert (
        crp["hours"].tolist() == [0, -24] and crp["text"].tolist() == ["", "below range"] and np.isnan(crp["value"][1])
    )
    assert events[events["name"] == "intensive care ends"]["hours"].tolist() == [96, 48]
    assert "death" not in set(events["name"])


def test_hannover_prepared_tells_the_same_events(tree):
    head = "image,patient_id,study_id,offset_days,split,icu_admission_day,icu_release_day,death_day,"
    head += "crp,crp_rel_day,d_dimer,d_dimer_rel_day\n"
    rows = "images/b.png,mhh_042f06a9,mhh_b343e657,0,test,0.0,4.0,,5.0,0.0,,\n"
    rows += "images/c.png,mhh_042f06a9,mhh_c9280a30,2,test,0.0,4.0,,-inf,-1.0,inf,0.0\n"
    prepared = hannover_mhh.read(tree({"images/b.png": 8, "images/c.png": 8, "metadata.csv": head + rows}, "prepared"))
    official = hannover_mhh.read(tree({"data.csv": HANNOVER}, "official"))
    columns = ["patient_id", "study_id", "hours", "kind", "name", "value", "unit", "text"]
    first, second = (pd.concat(tables.events)[columns].reset_index(drop=True) for tables in (prepared, official))
    pd.testing.assert_frame_equal(first, second)
    assert len(first) == 7
    bare = hannover_mhh.read(tree({"metadata.csv": "image,patient_id,split\na.png,p,test\n"}, "bare"))
    assert pd.concat(bare.events).empty


def test_refusals(tree):
    with pytest.raises(UserError, match=r"indiana_reports\.csv not found"):
        openi.read(tree({"x.txt": ""}, "a"))
    with pytest.raises(UserError, match=r"1\.xml: not a readable XML report"):
        openi.read(tree({"ecgen-radiology/1.xml": "<a>"}, "b"))
    with pytest.raises(UserError, match=r"metadata\.csv: column 'patientid' is missing"):
        covid_chestxray.read(tree({"metadata.csv": "a,b\n1,2\n"}, "c"))
    for read in (kermany_paediatric.read, hannover_mhh.read, nih_cxr14.read):
        with pytest.raises(UserError, match=r"metadata\.csv"):
            read(tree({"x.txt": ""}, "d"))

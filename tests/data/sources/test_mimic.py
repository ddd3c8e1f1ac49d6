import numpy as np
import pandas as pd
import pytest

from gen.data.annotations import read_beside
from gen.data.building import build_index
from gen.data.index import check_index, read_index
from gen.data.sources import mimic_cxr, mimic_events
from gen.data.sources.mimic_events import Window
from gen.errors import UserError

METADATA = """
    dicom_id,subject_id,study_id,PerformedProcedureStepDescription,ViewPosition,Rows,Columns,StudyDate,StudyTime
    aa-1,10000032,50414267,CHEST (PA AND LAT),PA,3056,2544,21800506,213014.531
    aa-2,10000032,50414267,CHEST (PA AND LAT),LATERAL,3056,2544,21800506,213014.531
    bb-1,10000032,53189527,CHEST (PORTABLE AP),AP,2544,3056,21800626,1014.0
    cc-1,10000764,57375967,CHEST (PA AND LAT),LL,3056,2544,21321015,83026.234
    dd-1,10000898,50771383,CHEST,,3056,2544,21880803,90000.0
"""
SPLIT = """
    dicom_id,study_id,subject_id,split
    aa-1,50414267,10000032,train
    aa-2,50414267,10000032,train
    bb-1,53189527,10000032,train
    cc-1,57375967,10000764,validate
    dd-1,50771383,10000898,test
"""
LABELS = """
    subject_id,study_id,Atelectasis,Cardiomegaly,Consolidation,Edema,Enlarged Cardiomediastinum,Fracture,Lung Lesion,\
Lung Opacity,No Finding,Pleural Effusion,Pleural Other,Pneumonia,Pneumothorax,Support Devices
    10000032,50414267,,,,,,,,,1.0,,,,,
    10000032,53189527,1.0,0.0,,,,,,,,1.0,,-1.0,,
"""
REPORT = "FINAL REPORT\n INDICATION:  ___F with cough.\n\n FINDINGS: Clear lungs.\n\n IMPRESSION: No acute process.\n"
EHR = {
    "hosp/patients.csv.gz": """
        subject_id,gender,anchor_age,anchor_year,anchor_year_group,dod
        10000032,F,52,2180,2014 - 2016,2180-09-09
        10000764,M,86,2132,2014 - 2016,
    """,
    "hosp/admissions.csv.gz": """
        subject_id,hadm_id,admittime,dischtime,deathtime,admission_type
        10000032,22595853,2180-05-06 22:23:00,2180-05-07 17:15:00,,URGENT
        99999999,1,2180-05-06 22:23:00,2180-05-07 17:15:00,,URGENT
    """,
    "hosp/d_labitems.csv.gz": "itemid,label,fluid,category\n50912,Creatinine,Blood,Chemistry\n",
    "hosp/labevents.csv.gz": """
        labevent_id,subject_id,hadm_id,specimen_id,itemid,order_provider_id,charttime,storetime,value,valuenum,valueuom
        1,10000032,,45421181,50912,P28Z0X,2180-05-05 21:30:00,2180-05-05 22:00:00,0.4,0.4,mg/dL
        2,10000032,22595853,45421182,50912,,2180-05-07 09:30:14,2180-05-07 10:00:00,___,,mg/dL
        3,10000032,,45421183,50912,,2179-01-01 09:30:00,2179-01-01 10:00:00,0.5,0.5,mg/dL
        4,99999999,,45421184,50912,,2180-05-06 09:30:00,2180-05-06 10:00:00,9,9,mg/dL
    """,
    "hosp/prescriptions.csv.gz": """
        subject_id,hadm_id,pharmacy_id,starttime,stoptime,drug_type,drug,ndc,dose_val_rx,dose_unit_rx,route
        10000032,22595853,12775705,2180-05-01 08:00:00,2180-05-07 22:00:00,MAIN,Furosemide,51079007320,40,mg,PO
    """,
    "icu/icustays.csv.gz": """
        subject_id,hadm_id,stay_id,first_careunit,last_careunit,intime,outtime,los
        10000032,29079034,39553978,MICU,MICU,2180-06-25 12:00:00,2180-06-27 12:00:00,2.0
    """,
    "icu/d_items.csv.gz": "itemid,label,abbreviation,linksto,category\n225158,NaCl 0.9%,NaCl,inputevents,Fluids\n",
    "icu/inputevents.csv.gz": """
        subject_id,hadm_id,stay_id,starttime,endtime,storetime,itemid,amount,amountuom,rate,rateuom
        10000032,29079034,39553978,2180-06-26 02:10:14,2180-06-26 03:10:14,2180-06-26 03:00:00,225158,500,ml,,
    """,
    "icu/procedureevents.csv.gz": """
        subject_id,hadm_id,stay_id,starttime,endtime,storetime,itemid,value,valueuom
        10000032,29079034,39553978,2180-06-25 20:10:14,2180-06-26 20:10:14,2180-06-26 21:00:00,224385,1,None
    """,
}


@pytest.fixture
def folder(tree):
    paths = {
        "p10000032/s50414267/aa-1": 8,
        "p10000032/s50414267/aa-2": 8,
        "p10000032/s53189527/bb-1": 8,
        "p10000764/s57375967/cc-1": 8,
        "p10000898/s50771383/dd-1": 8,
    }
    return tree(
        {f"files/p10/{path}.jpg": side for path, side in paths.items()}
        | {
            "mimic-cxr-2.0.0-metadata.csv.gz": METADATA,
            "mimic-cxr-2.0.0-split.csv.gz": SPLIT,
            "mimic-cxr-2.0.0-chexpert.csv.gz": LABELS,
            "mimic-cxr-2.0.0-negbio.csv.gz": LABELS.replace("1.0,0.0", "0.0,1.0"),
            "files/p10/p10000032/s50414267.txt": REPORT,
        }
    )


def test_rows(folder):
    rows = mimic_cxr.read(folder).rows
    assert check_index(rows) == []
    assert rows["view"].tolist() == ["PA", "LATERAL", "AP", "LATERAL", "UNKNOWN"]
    assert rows["split"].tolist() == ["train", "train", "train", "val", "test"]
    assert rows["findings"].tolist() == ["No Finding", "No Finding", "Atelectasis;Pleural Effusion", "", ""]
    assert rows["uncertain"].tolist()[2] == "Pneumonia"
    assert rows["findings_negbio"].tolist()[2] == "Cardiomegaly;Pleural Effusion"
    assert rows["report"][1].startswith("FINAL REPORT") and rows["report"][2] == ""
    # 00:10:14 on 26 June is 50 days and 2 h 40 min after 21:30:14 on 6 May
    assert rows["offset_days"].tolist()[:3] == [0, 0, pytest.approx(50 + 160 / 1440, abs=1e-3)]
    assert (rows["width"][0], rows["height"][0], rows["may_ship"].any()) == (2544, 3056, False)
    assert np.isnan(rows["age"]).all() and set(rows["sex"]) == {""}


def test_demographics_and_events_of_mimic_iv(folder, tree):
    tables = mimic_cxr.read(folder, tree(EHR, "mimiciv"), Window(before=48, after=24))
    assert tables.rows["sex"].tolist() == ["F", "F", "F", "M", ""]
    assert tables.rows["age"].tolist()[:4] == [52, 52, 52, 86] and np.isnan(tables.rows["age"][4])
    events = pd.concat(tables.events).set_index("kind")
    assert set(events["patient_id"]) == {"10000032"}
    labs = events.loc["lab"]
    assert labs["hours"].tolist() == [pytest.approx(-24.004), pytest.approx(12, abs=1e-3)]
    assert labs["name"].tolist() == ["Creatinine"] * 2 and labs["value"].tolist()[0] == 0.4
    assert labs["text"].tolist() == ["", "___"] and labs["hadm_id"].tolist() == ["", "22595853"]
    drug = events.loc["prescription"]
    assert (drug["name"], drug["value"], drug["unit"], drug["study_id"]) == ("Furosemide", 40, "mg", "50414267")
    assert drug["hours"] < -48 < drug["end_hours"]  # began before the window and reaches into it
    fluid = events.loc["input"]
    assert (fluid["hours"], fluid["end_hours"], fluid["name"], fluid["value"]) == (2, 3, "NaCl 0.9%", 500)
    assert events.loc["procedure"]["hours"] == -4 and events.loc["icu stay"]["study_id"] == "53189527"
    assert events.loc["admission"]["name"] == "URGENT"


def test_an_index_with_events_beside_it(folder, tree, tmp_path, monkeypatch):
    monkeypatch.setattr(mimic_events, "ROWS_A_PART", 1)
    ehr, out = tree(EHR, "mimiciv"), tmp_path / "index.parquet"
    table, written = build_index("auto", [folder], out, ehr=ehr, window=Window(48, 24))
    assert len(table) == 5 and written[1].endswith("events.parquet (7 events)")
    events = read_beside(out, "events")
    assert set(events["study_id"]) <= set(read_index(out)["study_id"]) and len(events) == 7
    assert events["unit"].tolist().count("mg/dL") == 2 and events["hours"].dtype == float


def test_refusals(folder, tree, tmp_path):
    with pytest.raises(UserError, match="no MIMIC-IV tables"):
        list(mimic_events.events(tmp_path, pd.DataFrame(), Window()))
    bad = tree(EHR | {"hosp/labevents.csv.gz": "a,b\n1,2\n"}, "bad")
    with pytest.raises(UserError, match=r"labevents\.csv\.gz: not a table of MIMIC-IV"):
        list(mimic_cxr.read(folder, bad).events)
    with pytest.raises(UserError, match="--ehr belongs to the source mimic_cxr"):
        build_index("chexpert", [folder], tmp_path / "i.csv", ehr=bad)
    (folder / "mimic-cxr-2.0.0-split.csv.gz").unlink()
    with pytest.raises(UserError, match="mimic-cxr-2\\*-split"):
        mimic_cxr.read(folder)
    (folder / "mimic-cxr-2.0.0-metadata.csv.gz").write_bytes(b"no gzip")
    with pytest.raises(UserError, match="not a readable CSV"):
        mimic_cxr.read(folder)

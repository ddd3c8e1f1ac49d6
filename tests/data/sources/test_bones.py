import numpy as np
import pytest

from gen.data.building import build_index
from gen.data.images import read_image
from gen.data.index import check_index, read_index
from gen.data.sources import bone_suppression, jsrt
from gen.errors import UserError

NODULES = "JPCLN001.IMG\t5\t15\t53\tmale\t1634\t692\tmalignant\tl.upper lobe\tlung cancer\n"
NODULES += "JPCLN002.IMG\t5\t30\t78\tfemale\t1614\t1090\tbenign\tl.upper\tpulmonary hematomaJPCLN003.IMG\t4\t14\t?"
NODULES += "\tmale\t1\t2\tmalignant\tx\ty\n"


def test_jsrt_with_targets(tree, tmp_path):
    files = {f"JSRT/{name}.png": 64 for name in ("JPCLN001", "JPCLN002", "JPCLN003", "JPCNN001")}
    files |= {f"BSE_JSRT/{name}.png": 64 for name in ("JPCLN001", "JPCNN001")}
    files |= {"CLNDAT_EN.txt": NODULES, "CNNDAT_EN.TXT": "JPCNN001.IMG\t54\tmale\tnon-nodule\n"}
    out = tmp_path / "i.csv"
    rows, written = build_index("auto", [tree(files)], out)
    assert rows["findings"].tolist() == ["Nodule", "Nodule", "Nodule", ""]
    assert (
        rows["sex"].tolist() == ["M", "F", "M", "M"] and rows["age"].tolist()[:2] == [53, 78] and rows["age"][3] == 54
    )
    assert len(written) == 2
    read = read_index(out)  # the target's path moves with the index like the image's
    assert read["soft"].tolist() == rows["soft"].tolist() and read["soft"][1] == ""
    assert read["soft"][0].endswith("set/BSE_JSRT/JPCLN001.png") and "BSE" not in read["image"][0]
    box = jsrt.read(tmp_path / "set").boxes.iloc[0]
    assert box["x0"] == pytest.approx((1634 - 15 / 0.175 / 2) / 32) and box["y1"] - box["y0"] == pytest.approx(
        2.679, abs=1e-3
    )


def test_jsrt_in_its_own_format(tree):
    values = np.zeros((2048, 2048), dtype=">u2")
    values[0] = 4095
    root = tree({"Nodule154images/JPCLN001.IMG": values.tobytes(), "Nodule154images/JPCLN002.IMG": b"xx"})
    rows = jsrt.read(root).rows
    assert check_index(rows) == [] and "soft" not in rows
    image = read_image(rows["image"][0])
    assert image.shape == (2048, 2048) and (image[0] == 0).all() and (image[1] == 1).all()
    with pytest.raises(UserError, match=r"JPCLN002\.IMG: 2 bytes, not JSRT's 2048 x 2048"):
        read_image(rows["image"][1])


def test_szch(tree):
    files = {f"{part}/{name}.png": 8 for part in ("CXR", "BS") for name in (0, 1)} | {"CXR/2.png": 8, "Mask/0.png": 8}
    rows = bone_suppression.read(tree(files)).rows
    assert check_index(rows) == [] and len(rows) == 2
    assert [path.split("/")[-2:] for path in rows["soft"]] == [["BS", "0.png"], ["BS", "1.png"]]
    with pytest.raises(UserError, match="BS: not found"):
        bone_suppression.read(tree({"CXR/0.png": 8}, "other"))
    with pytest.raises(UserError, match="no file of CXR/ has a twin"):
        bone_suppression.read(tree({"CXR/0.png": 8, "BS/1.png": 8}, "unpaired"))


def test_the_real_pairs(shared_data):
    rows = bone_suppression.read(shared_data / "bone_suppression").rows
    assert len(rows) == 10 and check_index(rows) == [] and rows["may_ship"].sum() == 4
    for soft in rows["soft"]:
        assert read_image(soft).shape == (512, 512) or min(read_image(soft).shape) > 0

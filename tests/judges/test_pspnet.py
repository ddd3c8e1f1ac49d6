"""torchxrayvision's PSPNet, with weights that nobody trained, against the package's own way of feeding it."""

import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from gen.errors import UserError
from gen.judges.lungs import LungSegmenter
from gen.judges.pspnet import PSPNetChest, lung_segmenter

chestx_det = pytest.importorskip("torchxrayvision.baseline_models.chestx_det")


def test_it_is_fed_as_the_package_does(tmp_path):
    torch.manual_seed(0)
    theirs = chestx_det.PSPNet.__new__(chestx_det.PSPNet)  # its __init__ would fetch weights
    torch.nn.Module.__init__(theirs)
    theirs.model = chestx_det.pspnet(14).eval()
    theirs.transform = chestx_det.torchvision.transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    weights = {name: value.contiguous() for name, value in theirs.model.state_dict().items()}
    save_file(weights, tmp_path / "pspnet.safetensors")
    ours = lung_segmenter(f"xrv:{tmp_path / 'pspnet.safetensors'}")
    image = F.interpolate(torch.rand(1, 1, 16, 16) * 2 - 1, (512, 512), mode="bilinear")
    with torch.no_grad():
        torch.testing.assert_close(ours.network(image), theirs(1024 * image), atol=1e-4, rtol=1e-4)


def test_lungs_are_either_lung():
    names = chestx_det.PSPNet.targets
    logits = torch.full((1, 14, 64, 64), -9.0)
    for name, rows in (("Left Lung", slice(0, 8)), ("Right Lung", slice(40, 64)), ("Heart", slice(20, 30))):
        logits[:, names.index(name), rows] = 9.0

    class Told(torch.nn.Conv2d):
        def forward(self, x):
            assert x.shape == (1, 3, 512, 512)
            return logits

    segmenter = LungSegmenter(PSPNetChest(Told(1, 1, 1), names))
    assert segmenter.masks(torch.zeros(1, 1, 64, 40)).shape == (1, 2, 64, 40)
    lungs, heart = segmenter.masks(torch.zeros(1, 1, 64, 64))[0] > 0.5
    assert lungs[2].all() and lungs[50].all() and not lungs[25].any()
    assert heart[25].all() and not heart[2].any()


def test_what_cannot_be_loaded_is_named(tmp_path, monkeypatch):
    assert isinstance(lung_segmenter(), LungSegmenter)
    with pytest.raises(UserError, match="no such safetensors file"):
        lung_segmenter(f"xrv:{tmp_path / 'weights.pth'}")
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(UserError, match="no weights of this PSPNet"):
        lung_segmenter(f"xrv:{tmp_path / 'other.safetensors'}")
    monkeypatch.setattr(chestx_det.utils, "get_cache_dir", lambda: str(tmp_path / "cache"))
    monkeypatch.setattr(chestx_det.xrv.utils, "download", lambda *_: (_ for _ in ()).throw(OSError("no net")))
    with pytest.raises(UserError, match="--lungs xrv: weights not to be had .no net"):
        lung_segmenter("xrv")
    with pytest.raises(UserError, match="nowhere"):
        lung_segmenter("nowhere")

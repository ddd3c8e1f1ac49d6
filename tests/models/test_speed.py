"""Faster ways to run a denoiser: refused plainly where the machine has none, the same numbers where it has."""

import importlib.util

import numpy as np
import pytest
import torch
from torch import nn

from gen.errors import UserError
from gen.models.condition import Condition
from gen.models.denoiser import build_denoiser
from gen.models.speed import XFORMERS, compile_blocks, fastest_dtype, use_xformers
from gen.pipeline import CXRPipeline
from gen.schema import UNetConfig

UNET = UNetConfig(block_out_channels=(32, 64), layers_per_block=1, attention_levels=(False, True), head_channels=32)


def answer(denoiser, device="cpu"):
    torch.manual_seed(0)
    tokens, mask = torch.randn(2, 5, 16, device=device), torch.ones(2, 5, dtype=torch.bool, device=device)
    told = Condition(tokens=tokens, mask=mask, null_tokens=tokens, null_mask=mask)
    with torch.no_grad():
        return denoiser(torch.randn(2, 4, 8, 8, device=device), torch.tensor([3, 900], device=device), told)


@pytest.fixture
def denoiser():
    torch.manual_seed(0)
    made = build_denoiser(UNET, 4, 8, 16).eval()
    nn.init.normal_(made.backbone.conv_out.weight, std=0.1)
    return made


def test_xformers_is_refused_where_it_cannot_run(denoiser):
    if importlib.util.find_spec("xformers") and torch.cuda.is_available():
        pytest.skip("it can run here")
    with pytest.raises(UserError, match="attention=xformers: .*leave it at sdpa"):
        use_xformers(nn.ModuleDict({"denoiser": denoiser}))
    assert torch.isfinite(answer(denoiser)).all()


@pytest.mark.skipif(importlib.util.find_spec("xformers") is not None, reason="it is installed")
def test_a_machine_with_a_gpu_is_told_of_the_extra(denoiser, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(UserError, match=r"attention=xformers: needs pip install 'cxr-gen\[xformers\]'"):
        use_xformers(denoiser)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_xformers_answers_as_sdpa_does(denoiser):
    pytest.importorskip("xformers")
    denoiser.cuda()
    before = answer(denoiser, "cuda")
    use_xformers(nn.ModuleDict({"denoiser": denoiser}))
    assert {type(part).__name__ for part in denoiser.backbone.attn_processors.values()} == {XFORMERS}
    torch.testing.assert_close(answer(denoiser, "cuda"), before, atol=1e-3, rtol=1e-3)


def test_blocks_are_compiled_where_they_stand(denoiser):
    """Names of weights stay as they are: a compiled run's state and export are any other's."""
    names = list(denoiser.state_dict())
    compile_blocks(nn.ModuleDict({"denoiser": denoiser}))
    blocks = [part for part in denoiser.modules() if type(part).__name__ == "BasicTransformerBlock"]
    assert blocks and all(part._compiled_call_impl is not None for part in blocks)
    assert list(denoiser.state_dict()) == names


@pytest.mark.slow
def test_compiled_blocks_answer_the_same(denoiser):
    before = answer(denoiser)
    compile_blocks(nn.ModuleDict({"denoiser": denoiser}))
    torch.testing.assert_close(answer(denoiser), before, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("able", "expected"),
    [({"avx512_bf16": True}, torch.bfloat16), ({"amx_bf16": True}, torch.bfloat16), ({"avx2": True}, torch.float32)],
    ids=str,
)
def test_half_precision_is_taken_where_it_is_fast_and_right(able, expected, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able, raising=False)
    assert fastest_dtype("cpu") == expected and fastest_dtype("cpu", difference=True) == torch.float32
    assert fastest_dtype("cuda:1") == fastest_dtype("cuda", difference=True) == torch.float16


def test_half_precision_draws_the_same_images():
    drawn = []
    for dtype in (torch.float32, torch.bfloat16):
        pipeline = CXRPipeline.from_pretrained(torch_dtype=dtype)
        drawn.append(pipeline("PA chest radiograph of a man.", steps=2, seed=3, output_type="np", progress=False))
    difference = drawn[0].images - drawn[1].images
    assert 0 < np.sqrt((difference**2).mean()) < 1 / 255

"""Which autocast type "auto" means."""

import pytest
import torch

from gen.engine.processes import precision


def test_what_is_asked_for_is_given():
    assert [precision(wanted, cpu=True) for wanted in ("no", "fp16", "bf16")] == ["no", "fp16", "bf16"]


@pytest.mark.parametrize(
    ("able", "expected"), [({"avx512_bf16": True}, "bf16"), ({"avx512_bf16": False}, "no"), ({}, "no")]
)
def test_half_precision_only_where_the_processor_has_instructions_for_it(monkeypatch, able, expected):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able, raising=False)
    assert precision("auto", cpu=True) == expected

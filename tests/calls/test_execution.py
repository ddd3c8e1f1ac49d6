"""How a pipeline is run is one field each; what it draws stays the same."""

import numpy as np
import pytest
import torch

from gen.errors import UserError
from gen.models.codec import LatentCodec
from gen.models.speed import attention_in_use, save_memory


def drawn(pipeline):
    prompts = ["Cardiomegaly.", "Clear lungs."]
    return pipeline(prompts, steps=2, output_type="np", progress=False).images


def test_a_compiled_pipeline_draws_the_same_and_tells_its_warm_up(tiny_pipeline):
    said, plain = [], drawn(tiny_pipeline)
    tiny_pipeline.set_execution(compile="default", backend="eager", say=said.append)
    assert tiny_pipeline.unet._compiled_call_impl is not None
    np.testing.assert_allclose(drawn(tiny_pipeline), plain, atol=1e-5)
    drawn(tiny_pipeline)
    assert len(said) == 1 and said[0].startswith("compiled in ")
    assert float(said[0].split()[2]) > 0
    tiny_pipeline.set_execution()
    assert tiny_pipeline.unet._compiled_call_impl is None
    assert np.array_equal(drawn(tiny_pipeline), plain)


def test_a_compiled_pipeline_is_saved_as_any_other(tiny_pipeline, tmp_path):
    plain = drawn(tiny_pipeline)
    tiny_pipeline.set_execution(compile="default", backend="eager").save_pretrained(tmp_path / "saved")
    assert np.array_equal(drawn(type(tiny_pipeline).from_pretrained(tmp_path / "saved")), plain)


def test_low_memory_decodes_images_one_by_one(tiny_pipeline):
    plain, rows = drawn(tiny_pipeline), []
    tiny_pipeline.vae.autoencoder.decoder.register_forward_pre_hook(lambda module, inputs: rows.append(len(inputs[0])))
    tiny_pipeline.set_execution(low_memory=True)
    np.testing.assert_allclose(drawn(tiny_pipeline), plain, atol=1e-5)
    assert rows == [1, 1]


@pytest.mark.parametrize(("kind", "tiled"), [("dc", True), ("kl", False), ("vq", False)])
def test_only_tiles_whose_seams_do_not_show_are_cut(kind, tiled):
    codec = LatentCodec(kind=kind, latent_channels=4, block_out_channels=(8, 8, 16), layers_per_block=(1, 1, 1))
    save_memory(codec)
    assert bool(getattr(codec.autoencoder, "use_tiling", False)) is tiled


def test_sdpa_is_what_runs_by_default(tiny_pipeline):
    assert attention_in_use(tiny_pipeline.unet) == {"AttnProcessor2_0"}
    tiny_pipeline.set_execution(attention="sdpa")
    assert attention_in_use(tiny_pipeline.unet) == {"AttnProcessor2_0"}


@pytest.mark.skipif(torch.cuda.is_available(), reason="it may run here")
def test_what_cannot_be_is_refused_and_changes_nothing(tiny_pipeline):
    plain = drawn(tiny_pipeline)
    with pytest.raises(UserError, match="attention=xformers: runs on a GPU only"):
        tiny_pipeline.set_execution(attention="xformers")
    with pytest.raises(UserError, match="compile with low_memory"):
        tiny_pipeline.set_execution(compile="default", low_memory=True)
    assert str(tiny_pipeline.execution) == "" and np.array_equal(drawn(tiny_pipeline), plain)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("way", [{"low_memory": True}, {"compile": "default"}, {"compile": "reduce-overhead"}])
def test_on_a_gpu_too(tiny_pipeline, way):
    plain = drawn(tiny_pipeline.to("cuda"))
    np.testing.assert_allclose(drawn(tiny_pipeline.set_execution(**way)), plain, atol=1e-3)

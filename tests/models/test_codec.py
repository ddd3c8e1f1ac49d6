"""All three codecs at tiny size: shapes, the four verbs, whitening, the linear path, saving."""

import pytest
import torch
from torch.nn import functional as F

from gen.errors import UserError
from gen.models.codec import LOG_VARIANCE_RANGE, LatentCodec
from gen.models.loading import load_codec, weights_hash
from gen.models.recoding import redecoded, unfolded

KINDS = ("dc", "kl", "vq")
every_kind = pytest.mark.parametrize("kind", KINDS)


def codec(kind="dc", **changes):
    torch.manual_seed(0)
    shape = {"latent_channels": 4, "block_out_channels": (8, 16, 16), "layers_per_block": (0, 1, 1)}
    if kind != "dc":
        shape["layers_per_block"] = (1, 1, 1)
    return LatentCodec(kind=kind, **{**shape, "num_vq_embeddings": 16, **changes}).eval()


def images(count=3, side=32, seed=0):
    """Smooth random fields, as radiographs mostly are."""
    coarse = torch.randn(count, 1, side // 4, side // 4, generator=torch.Generator().manual_seed(seed))
    return F.interpolate(coarse, scale_factor=4, mode="bicubic").tanh()


@torch.no_grad()
@every_kind
@pytest.mark.parametrize("patch", [1, 2])
def test_verbs_and_shapes(kind, patch):
    model, image = codec(kind, patch=patch), images()
    side = 32 // (4 * patch)
    assert model.downsample_factor == 4 * patch
    moments = model.moments(image)
    assert moments.shape == (3, 8, side, side)
    mean, log_variance = moments.chunk(2, dim=1)
    assert torch.equal(model.sample(moments), mean)
    noise = torch.randn_like(mean)
    torch.testing.assert_close(model.sample(moments, noise), mean + (0.5 * log_variance).exp() * noise)
    output = model.decode(mean)
    assert output.shape == image.shape and output.std() > 0
    assert torch.equal(model.reconstruct(image), output)


@torch.no_grad()
@every_kind
def test_a_batch_is_its_rows(kind):
    model, image = codec(kind), images(4)
    single = torch.cat([model.reconstruct(row[None]) for row in image])
    torch.testing.assert_close(model.reconstruct(image), single, rtol=1e-4, atol=1e-5)


@every_kind
def test_gradients_reach_every_weight(kind):
    model, image = codec(kind).train(), images()
    if kind == "vq":
        codes, loss = model.quantise(image)
        (model.decode_raw(codes).square().mean() + loss).backward()
    else:
        moments = model.moments(image)
        mean, log_variance = moments.chunk(2, dim=1)
        z = mean + (0.5 * log_variance).exp() * torch.randn_like(mean)
        (model.decode_raw(z).square().mean() + moments.square().mean()).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


@every_kind
def test_decoder_parts_are_what_decoding_uses(kind):
    model = codec(kind, linear_skip=kind != "vq").train()
    model.decode(torch.randn(1, 4, 8, 8)).square().mean().backward()
    used = {name for name, p in model.named_parameters() if p.grad is not None}
    parts = {id(p) for part in model.decoder_parts() for p in part.parameters()}
    assert {name for name, p in model.named_parameters() if id(p) in parts} == used


@torch.no_grad()
def test_log_variance_stays_in_its_range():
    model = codec("dc")
    model.autoencoder.encoder.conv_out.bias[4:] = torch.tensor([-1e3, 1e3, 0.0, 5.0])
    spread = model.moments(images())[:, 4:]
    assert spread[:, 0].unique().item() == LOG_VARIANCE_RANGE[0]
    assert spread[:, 1].unique().item() == LOG_VARIANCE_RANGE[1]


@torch.no_grad()
def test_quantised_latents_lie_in_the_codebook():
    model = codec("vq")
    means = model.moments(images())[:, :4].permute(0, 2, 3, 1).reshape(-1, 4)
    codebook = model.autoencoder.quantize.embedding.weight
    distance, row = (means[:, None] - codebook).abs().amax(dim=2).min(dim=1)
    assert distance.max() < 1e-5 < codebook.std()
    assert row.unique().numel() > 1
    codes, loss = model.quantise(images())
    torch.testing.assert_close(codes.permute(0, 2, 3, 1).reshape(-1, 4), means)
    latents = model.autoencoder.encode(images()).latents
    assert loss.item() == pytest.approx(1.25 * (codes - latents).square().mean().item(), rel=1e-4)
    noise = torch.randn_like(codes)
    torch.testing.assert_close(model.sample(model.moments(images()), noise), codes, atol=1e-5, rtol=0)


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
def test_whitening_has_its_closed_form(power):
    deviations = torch.tensor([0.1, 1.0, 2.0, 5.0]).double()
    generator = torch.Generator().manual_seed(0)
    means = torch.randn(64, 4, 8, 8, generator=generator).double() * deviations[:, None, None]
    means += torch.tensor([3.0, -1.0, 0.0, 10.0]).double()[:, None, None]
    model = codec("dc", whitening_power=power)
    model.fit_whitening(means)
    z = model.sample(torch.cat([means, means], dim=1).float())
    torch.testing.assert_close(z.mean(dim=(0, 2, 3)), torch.zeros(4), atol=1e-4, rtol=0)
    assert z.square().mean().item() == pytest.approx(1, abs=1e-3)
    std = means.std(dim=(0, 2, 3))
    expected = {0.0: std.square().mean().sqrt().expand(4), 0.5: (std * std.mean()).sqrt(), 1.0: std}[power]
    torch.testing.assert_close(model.latent_scale, expected.float(), rtol=1e-4, atol=0)
    torch.testing.assert_close(model.latent_shift, means.mean(dim=(0, 2, 3)).float(), rtol=1e-5, atol=1e-6)


@torch.no_grad()
@every_kind
def test_whitening_does_not_change_what_is_reconstructed(kind):
    model, image = codec(kind), images()
    before = model.reconstruct(image)
    model.fit_whitening(model.moments(image)[:, :4])
    assert model.latent_shift.abs().sum() > 0
    torch.testing.assert_close(model.reconstruct(image), before, rtol=1e-3, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("kind", ["dc", "kl", "vq"])
def test_unfolding_shows_the_same_code_in_another_way(kind):
    folded, image = codec(kind, linear_skip=kind == "dc"), images(8)
    folded.fit_whitening(folded.moments(image)[:, :4])
    seen = unfolded(folded, 2, image)
    z, whole = (model.sample(model.moments(image)) for model in (seen, folded))
    assert z.shape[1:] == seen.latent_shape(32) == (1, 16, 16)
    assert folded.latent_shape(32) == (4, 8, 8)
    torch.testing.assert_close(seen.unfolding @ seen.unfolding.T, torch.eye(4), atol=1e-5, rtol=0)
    assert (seen.unfolding - torch.eye(4)).abs().max() > 0.1
    torch.testing.assert_close(z.square().sum((1, 2, 3)), whole.square().sum((1, 2, 3)))  # so noise stays white
    torch.testing.assert_close(seen.decode(z), folded.decode(whole), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(seen.signature(), folded.signature())  # cached moments serve both
    back = unfolded(seen, 1, image)
    torch.testing.assert_close(back.sample(back.moments(image)), whole)


def light(**changes):
    return codec("dc", decoder_channels=(8, 16), decoder_layers=(1, 1), decoder_patch=2, **changes)


def test_a_light_decoder_sets_several_pixels_a_position():
    model = light(linear_skip=True).train()
    output = model.decode(torch.randn(2, 4, 8, 8))
    output.square().mean().backward()
    assert output.shape == (2, 1, 32, 32)
    used = {name for name, p in model.named_parameters() if p.grad is not None}
    parts = {id(p) for part in model.decoder_parts() for p in part.parameters()}
    assert {name for name, p in model.named_parameters() if id(p) in parts} == used


@torch.no_grad()
def test_a_light_decoder_goes_by_tiles_as_others_do():
    model = light()
    whole = model.decode(z := torch.randn(1, 4, 48, 48))
    model.autoencoder.enable_tiling(64, 64, 48, 48)
    tiled = model.decode(z)
    assert tiled.shape == whole.shape and (tiled - whole)[..., :40, :40].abs().max() < 1e-4


@torch.no_grad()
def test_a_new_decoder_keeps_the_latents_and_starts_as_the_best_linear_one():
    model, image = codec("dc", linear_skip=True, unfold=2), images(16)
    model.fit_linear_skip(image)
    model.fit_whitening(model.moments(image)[:, :4])
    model.fit_unfolding(image)
    lighter = redecoded(model, (8, 16), (1, 1), 2, image)
    assert lighter.config.decoder_patch == 2
    assert torch.equal(lighter.sample(lighter.moments(image)), model.sample(model.moments(image)))
    torch.testing.assert_close(lighter.reconstruct(image), model.reconstruct(image), rtol=1e-4, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("kind", ["dc", "kl"])
def test_linear_path_starts_at_the_principal_components(kind):
    """PCA of 4 x 4 patches by singular values: the latents are its scores, the images at least as near."""
    model, image = codec(kind, linear_skip=True), images(16)
    model.fit_linear_skip(image)
    patches = F.unfold(image, 4, stride=4).transpose(1, 2).double()
    flat = patches.reshape(-1, 16)
    _, _, directions = torch.linalg.svd(flat - flat.mean(0), full_matrices=False)
    scores = (patches - flat.mean()) @ directions[:4].T
    classic = F.fold((scores @ directions[:4] + flat.mean()).transpose(1, 2), 32, 4, stride=4).float()
    assert (model.reconstruct(image) - image).square().mean() <= (classic - image).square().mean() * (1 + 1e-3)
    means = model.moments(image)[:, :4].flatten(2).transpose(1, 2).flatten(0, 1)
    correlation = torch.corrcoef(torch.cat([means.double(), scores.flatten(0, 1)], dim=1).T)[:4, 4:]
    torch.testing.assert_close(correlation.diagonal().abs(), torch.ones(4).double(), atol=1e-3, rtol=0)
    latents = model.sample(model.moments(image))
    assert latents.square().mean().item() == pytest.approx(1, abs=1e-3)
    strength = latents.var(dim=(0, 2, 3))
    assert (strength.diff() < 0).all()  # strongest first
    assert model.moments(image)[:, 4:].max() < -5


@torch.no_grad()
@every_kind
def test_saving_and_loading_changes_nothing(kind, tmp_path):
    model, image = codec(kind, linear_skip=kind == "dc", patch=2), images()
    model.fit_whitening(model.moments(image)[:, :4])
    model.save_pretrained(tmp_path / "a")
    again = load_codec(tmp_path / "a").eval()
    assert dict(again.config) == dict(model.config) or again.config.kind == kind
    assert torch.equal(again.sample(again.moments(image)), model.sample(model.moments(image)))
    assert torch.equal(again.reconstruct(image), model.reconstruct(image))
    again.save_pretrained(tmp_path / "b")
    assert weights_hash(tmp_path / "a") == weights_hash(tmp_path / "b")
    again.latent_scale += 1
    again.save_pretrained(tmp_path / "b")
    assert weights_hash(tmp_path / "a") != weights_hash(tmp_path / "b")


@torch.no_grad()
def test_a_stable_diffusion_autoencoder_keeps_its_numbers(stable_diffusion_vae, tmp_path):
    theirs, image = stable_diffusion_vae, images()
    colour = image.expand(-1, 3, -1, -1)
    theirs.save_pretrained(tmp_path / "vae")
    for ours in (LatentCodec.from_autoencoder(theirs), load_codec(tmp_path / "vae").eval()):
        posterior = theirs.encode(colour).latent_dist
        z = ours.sample(ours.moments(image))
        torch.testing.assert_close(z, posterior.mean * 0.7)
        torch.testing.assert_close(ours.moments(image)[:, 4:], posterior.logvar)
        expected = theirs.decode(z / 0.7).sample.mean(dim=1, keepdim=True)
        torch.testing.assert_close(ours.decode(z), expected, rtol=1e-4, atol=1e-5)
        assert ours.downsample_factor == 2
    ours.save_pretrained(tmp_path / "codec")
    again = load_codec(tmp_path / "codec").eval()
    assert torch.equal(again.reconstruct(image), ours.reconstruct(image))


def test_folders_that_hold_no_codec(tmp_path):
    with pytest.raises(UserError, match=r"no codec here \(config.json is missing\); train one with train/vae.py"):
        load_codec(tmp_path)
    codec("dc").save_pretrained(tmp_path)
    weights = next(tmp_path.glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(UserError, match=f"{tmp_path}: not a usable LatentCodec"):
        load_codec(tmp_path)

"""The codec computes what the published one computes, the same in pieces as at once, with fewer products."""

import threading
from copy import deepcopy
from functools import partial

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")

from diffusers import AutoencoderKLWan  # noqa: E402
from safetensors.torch import load_file  # noqa: E402
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from dkt_ros.engines.wan_codec import WanCodec  # noqa: E402
from dkt_ros.engines.wan_convolutions import CausalConvolution, Residual, lighter  # noqa: E402
from dkt_ros.engines.weights import load_codec, load_dvd  # noqa: E402
from test.engines.published import DKT, DVD, dvd_folder  # noqa: E402

#: Another geometry: patches of 2x2 pixels, twice halved in both time and space.
SMALL = {
    "base_dim": 4, "z_dim": 4, "dim_mult": [1, 2, 2], "num_res_blocks": 1, "temperal_downsample": [True, True],
    "patch_size": 2, "in_channels": 12, "out_channels": 12, "latents_mean": [0.1] * 4, "latents_std": [2.0] * 4,
}  # fmt: skip
#: A latent for every second frame.
HALF = {"base_dim": 4, "temperal_downsample": [False, False, True]}


@pytest.fixture(scope="module")
def vae():
    return load_codec(DKT / "vae_tiny_reference.safetensors")


@pytest.fixture(scope="module")
def codec(vae):
    return WanCodec(vae, "cpu", torch.float32)


@pytest.fixture(scope="module")
def dkt():
    return load_file(DKT / "vae_tiny_io.safetensors")


def made(sizes, seed=3, **options):
    torch.manual_seed(seed)
    model = AutoencoderKLWan(**sizes)
    return model, WanCodec(model, "cpu", torch.float32, **options)


def video(frames, height=16, width=24, batch=1):
    generator = torch.Generator().manual_seed(frames)
    return torch.rand(batch, 3, frames, height, width, generator=generator) * 2 - 1


@pytest.mark.parametrize("case", ["v1", "v5", "v9", "v17"])
def test_dkt_codec_matches_the_reference(codec, dkt, case):
    given = {key: dkt[f"{case}.{key}"] for key in ("video", "latent", "decoded", "decoded_unclamped")}
    torch.testing.assert_close(codec.encode(given["video"]), given["latent"], rtol=0, atol=1e-5)
    decoded = codec.decode(given["latent"])
    torch.testing.assert_close(decoded, given["decoded"], rtol=0, atol=1e-4)
    torch.testing.assert_close(decoded, given["decoded_unclamped"].clamp(-1, 1), rtol=0, atol=1e-4)


def test_dvd_codec_matches_the_reference(tmp_path):
    known = {key: torch.from_numpy(value) for key, value in np.load(DVD / "vae.npz").items()}
    codec = WanCodec(load_dvd(dvd_folder(tmp_path) / "model.safetensors").codec, "cpu", torch.float32)
    for end in ("", "_t1"):
        torch.testing.assert_close(codec.encode(known["video" + end]), known["z" + end], rtol=0, atol=2e-5)
        torch.testing.assert_close(codec.decode(known["z" + end]), known["dec" + end], rtol=0, atol=2e-5)
    torch.testing.assert_close(codec.decode(known["z_in"]), known["dec_z"], rtol=0, atol=2e-5)
    torch.testing.assert_close(codec.decode(known["z_in"]), known["dec_raw_unclamped"].clamp(-1, 1), rtol=0, atol=2e-5)


def test_mean_and_deviation_are_the_published_ones(vae, dkt):
    assert torch.equal(torch.tensor(vae.config.latents_mean), dkt["mean"])
    assert torch.equal(torch.tensor(vae.config.latents_std), dkt["std"])
    known = np.load(DVD / "vae.npz")
    np.testing.assert_array_equal(np.float32(vae.config.latents_mean), known["mean"].ravel())
    np.testing.assert_array_equal(np.float32(vae.config.latents_std), known["std"].ravel())


@pytest.mark.parametrize("pieces", [(1, 4, 4, 4, 4), (1, 8, 8), (1, 16), (5, 12), (13, 4), (17,)])
def test_a_stream_is_one_call_bit_for_bit(codec, pieces):
    whole = video(17)
    latents = codec.encode(whole)
    stream = codec.encoder()
    assert torch.equal(torch.cat([stream.push(each) for each in whole.split(pieces, dim=2)], dim=2), latents)
    stream = codec.decoder()
    counts = [(each + 3) // 4 for each in pieces[:1]] + [each // 4 for each in pieces[1:]]
    frames = [stream.push(each) for each in latents.split(counts, dim=2)]
    assert [each.shape[2] for each in frames] == list(pieces)
    assert torch.equal(torch.cat(frames, dim=2), codec.decode(latents))


def test_a_copy_goes_on_alone(codec):
    whole = video(13, batch=2)
    latents = codec.encode(whole)
    stream = codec.encoder()
    stream.push(whole[:, :, :5])
    other = stream.copy()
    other.push(torch.zeros_like(whole[:, :, :8]))
    assert torch.equal(stream.push(whole[:, :, 5:]), latents[:, :, 2:])
    stream = codec.decoder()
    stream.push(latents[:, :, :2])
    other = stream.copy()
    stream.push(torch.zeros_like(latents))
    assert torch.equal(other.push(latents[:, :, 2:]), codec.decode(latents)[:, :, 5:])


def test_threads_share_a_codec(codec):
    videos = [video(frames) for frames in (5, 9, 13)]
    alone = [codec.decode(codec.encode(each)) for each in videos]
    together = [None] * len(videos)

    def work(index):
        together[index] = codec.decode(codec.encode(videos[index]))

    threads = [threading.Thread(target=work, args=(index,)) for index in range(len(videos))]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert all(torch.equal(a, b) for a, b in zip(alone, together, strict=True))


def test_it_equals_the_plain_module(vae, codec):
    whole = video(17, 32, 40)
    with torch.no_grad():
        raw = vae.encode(whole).latent_dist.mode()
        latents = codec.encode(whole)
        torch.testing.assert_close(latents, (raw - codec._mean) / codec._std, rtol=0, atol=1e-5)
        torch.testing.assert_close(codec.decode(latents), vae.decode(raw).sample, rtol=0, atol=1e-4)


def test_large_pictures_pass_two_at_a_time(vae):
    codec = WanCodec(vae, "cpu", torch.float32)
    seen = {"encoder": set(), "decoder": set()}
    for name, piece in (("encoder", codec.encode_piece), ("decoder", codec.decode_piece)):
        for module in piece.net.modules():
            if isinstance(module, Residual):
                module.register_forward_pre_hook(lambda _, given, n=name: seen[n].add(given[0].shape[2:]))
    codec.decode(codec.encode(video(9, 32, 48)))
    # One frame in a stream's first piece, four in every other; a quarter of them where a picture is a latent.
    large = {(frames, *size) for frames in (1, 2) for size in ((32, 48), (16, 24))}
    small = {(1, 8, 12), (2, 8, 12), (1, 4, 6)}
    assert seen == {"encoder": large | small, "decoder": large | small}


def test_a_stream_keeps_nothing_of_the_callers(codec):
    whole = video(9)
    latents = codec.encode(whole)
    frames = codec.decode(latents)
    stream, given = codec.encoder(), whole[:, :, :1].contiguous()
    first = stream.push(given)
    given.zero_()
    assert torch.equal(torch.cat([first, stream.push(whole[:, :, 1:])], dim=2), latents)
    stream, given = codec.decoder(), latents[:, :, :1].contiguous()
    first = stream.push(given)
    given.zero_()
    assert torch.equal(torch.cat([first, stream.push(latents[:, :, 1:])], dim=2), frames)


@pytest.mark.parametrize("sizes", [SMALL, HALF], ids=["patches", "pairs of frames"])
def test_other_geometries(sizes):
    model, codec = made(sizes)
    whole = video(13, 32, 40)
    with torch.no_grad():
        raw = model.encode(whole).latent_dist.mode()
        latents = codec.encode(whole)
        torch.testing.assert_close(latents, (raw - codec._mean) / codec._std, rtol=0, atol=1e-5)
        torch.testing.assert_close(codec.decode(latents), model.decode(raw).sample, rtol=0, atol=1e-4)
    assert latents.shape == (1, codec.z_dim, 1 + 12 // codec.group, 32 // codec.cell, 40 // codec.cell)
    stream = codec.encoder()
    assert torch.equal(torch.cat([stream.push(each) for each in whole.split((1, 4, 8), dim=2)], dim=2), latents)


def test_the_given_module_stays_as_it_was(vae, codec):
    assert not any(isinstance(each, CausalConvolution) for each in vae.modules())
    own = {each.data_ptr() for each in vae.encoder.parameters()}
    ours = {each.data_ptr() for each in lighter(vae.encoder).parameters()}
    assert own <= ours, "weights are shared, not copied"


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ((1, 3, 7, 16, 16), "repeat the last frame up to 9"),
        ((1, 3, 5, 20, 16), "multiples of 8"),
        ((1, 3, 0, 16, 16), "4n+1"),
    ],
)
def test_what_does_not_fit_the_grid_is_refused(codec, shape, said):
    with pytest.raises(ValueError, match=said.replace("+", r"\+")):
        codec.encode(torch.zeros(shape))


def test_pieces_that_do_not_fit_are_refused(codec):
    stream = codec.encoder()
    stream.push(video(1))
    with pytest.raises(ValueError, match="4n"):
        stream.push(video(5))
    with pytest.raises(ValueError, match="need \\(clips, 16"):
        codec.decode(torch.zeros(1, 8, 1, 2, 2))


@pytest.mark.parametrize(("frames", "remembered"), [(1, 0), (1, 2), (2, 0), (2, 1), (2, 2), (3, 2), (4, 1), (4, 2)])
def test_a_lighter_convolution_is_the_plain_one(frames, remembered):
    from diffusers.models.autoencoders.autoencoder_kl_wan import WanCausalConv3d

    torch.manual_seed(frames)
    plain = WanCausalConv3d(5, 7, 3, padding=1)
    x, before = torch.randn(2, 5, frames, 6, 8), torch.randn(2, 5, remembered, 6, 8) if remembered else None
    with torch.no_grad():
        torch.testing.assert_close(CausalConvolution(plain)(x, before), plain(x, before), rtol=0, atol=2e-6)


def test_a_third_of_the_products_is_saved_at_real_size():
    with torch.device("meta"):
        model = AutoencoderKLWan()
    codec = WanCodec(model, "meta", torch.float32)
    clip, latents = torch.empty(1, 3, 21, 480, 832, device="meta"), torch.empty(1, 16, 6, 60, 104, device="meta")
    with torch.no_grad():
        assert counted(lambda: codec.encode(clip)) < 0.72 * counted(lambda: model.encode(clip))
        assert counted(lambda: codec.decode(latents)) < 0.70 * counted(lambda: model.decode(latents))


def counted(run):
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


def test_bfloat16_errs_as_the_plain_modules_do(vae, codec, dkt):
    half, plain = WanCodec(deepcopy(vae), "cpu", torch.bfloat16), deepcopy(vae).to(torch.bfloat16)
    clip, latents = dkt["v9.video"], dkt["v9.latent"]
    with torch.no_grad():
        theirs = plain.encode(clip.bfloat16()).latent_dist.mode().float()
        theirs = theirs, plain.decode((latents * codec._std + codec._mean).bfloat16()).sample.float()
    wanted = codec.encode(clip), codec.decode(latents)
    given = half.encode(clip), half.decode(latents)
    assert given[0].dtype == given[1].dtype == torch.float32
    assert error(given[0], wanted[0]) < 1.25 * error((theirs[0] - codec._mean) / codec._std, wanted[0]) < 0.02
    assert error(given[1], wanted[1]) < 1.25 * error(theirs[1], wanted[1]) < 0.05


def test_bfloat16_disparity_is_not_banded(vae, codec, dkt):
    given = WanCodec(deepcopy(vae), "cpu", torch.bfloat16).decode(dkt["v9.latent"])
    inside = given[given.abs() < 1]
    assert len(inside.unique()) > 4 * len(inside.bfloat16().unique()), "more levels than bfloat16 has"


def error(given, wanted):
    return float((given - wanted).square().mean().sqrt() / wanted.std())


def test_the_steady_piece_compiles_as_one_graph(monkeypatch):
    """Traced and run without the machine code: that takes minutes on a small CPU, where it agreed to 1.2e-5 too."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager", fullgraph=True))
    sizes = {"base_dim": 4, "dim_mult": [1, 2], "num_res_blocks": 1, "temperal_downsample": [True]}
    _, eager = made(sizes)
    _, compiled = made(sizes, compiled=True)
    clip = video(13)
    latents = compiled.encode(clip)
    torch.testing.assert_close(latents, eager.encode(clip), rtol=0, atol=1e-5)
    torch.testing.assert_close(compiled.decode(latents), eager.decode(latents), rtol=0, atol=1e-5)

"""The small codec: the published layout to the byte, the published arithmetic, and streams that equal one call."""

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")

import torch.nn.functional as F  # noqa: E402
from safetensors.torch import save, save_file  # noqa: E402

from dkt_ros.engines.checkpoints import CheckpointError  # noqa: E402
from dkt_ros.engines.tiny_autoencoder import TinyAutoencoder, TinySizes, load_tiny_autoencoder  # noqa: E402
from dkt_ros.engines.tiny_codec import TinyCodec  # noqa: E402

PUBLISHED = TinySizes(16, 64, (256, 128, 64, 64), (2, 2, 1), (1, 2, 2))
TINY = TinySizes(4, 8, (12, 8, 6, 6), (2, 2, 1), (1, 2, 2))


def weights(sizes=TINY, seed=1):
    torch.manual_seed(seed)
    return {name: 1.5 * tensor.half() for name, tensor in TinyAutoencoder(sizes).state_dict().items()}


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    file = tmp_path_factory.mktemp("tiny") / "taew2_1.safetensors"
    save_file(weights(), file)
    return file


@pytest.fixture(scope="module")
def codec(path):
    return TinyCodec(load_tiny_autoencoder(path), "cpu", torch.float32)


def some_video(frames=13, clips=2, seed=3):
    return torch.rand(clips, 3, frames, 16, 24, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def some_latents(count=4, clips=2):
    return 2 * torch.randn(clips, 4, count, 2, 3, generator=torch.Generator().manual_seed(4))


def residual(w, name, x):
    """x: (T, C, H, W) of one clip."""
    y = torch.cat([x, torch.cat([torch.zeros_like(x[:1]), x[:-1]])], dim=1)
    for i in (0, 2, 4):
        y = F.conv2d(y, w[f"{name}.conv.{i}.weight"], w[f"{name}.conv.{i}.bias"], padding=1)
        y = y.relu() if i < 4 else y
    return (y + x).relu()


def published_encode(w, frames):
    """(T, 3, H, W) in [0, 1] -> (t, z, h, w): all frames at once, the end repeated to a multiple of four."""
    x = torch.cat([frames, frames[-1:].expand(-len(frames) % 4, -1, -1, -1)])
    x = F.conv2d(x, w["encoder.0.weight"], w["encoder.0.bias"], padding=1).relu()
    for first in (2, 7, 12):
        joint = w[f"encoder.{first}.conv.weight"]
        x = F.conv2d(x.reshape(-1, joint.shape[1], *x.shape[2:]), joint)
        x = F.conv2d(x, w[f"encoder.{first + 1}.weight"], stride=2, padding=1)
        for i in range(first + 2, first + 5):
            x = residual(w, f"encoder.{i}", x)
    return F.conv2d(x, w["encoder.17.weight"], w["encoder.17.bias"], padding=1)


def published_decode(w, latents):
    """(t, z, h, w) -> (T, 3, H, W) in [0, 1]: all latents at once, the first three frames dropped."""
    x = F.conv2d(3 * torch.tanh(latents / 3), w["decoder.1.weight"], w["decoder.1.bias"], padding=1).relu()
    for first in (3, 9, 15):
        for i in range(first, first + 3):
            x = residual(w, f"decoder.{i}", x)
        x = F.interpolate(x, scale_factor=2, mode="nearest")
        x = F.conv2d(x, w[f"decoder.{first + 4}.conv.weight"]).reshape(-1, *x.shape[1:])
        x = F.conv2d(x, w[f"decoder.{first + 5}.weight"], padding=1)
    return F.conv2d(x.relu(), w["decoder.22.weight"], w["decoder.22.bias"], padding=1).clamp(0, 1)[3:]


def test_the_full_size_is_the_published_one_to_the_byte():
    tensors = {name: tensor.half() for name, tensor in TinyAutoencoder(PUBLISHED).state_dict().items()}
    values = {side: sum(t.numel() for n, t in tensors.items() if n.startswith(side)) for side in ("encoder", "decoder")}
    assert len(tensors) == 128
    assert (round(values["encoder"] / 1e6, 1), round(values["decoder"] / 1e6, 1)) == (1.5, 9.8)
    # What a mirror states of taew2_1.safetensors; names and shapes are in those bytes too.
    assert len(save(tensors)) == 22_642_902


def test_decoding_is_the_published_arithmetic(codec):
    w = {name: tensor.float() for name, tensor in weights().items()}
    latents = some_latents()
    ours = codec.decode(latents)
    assert ours.shape == (2, 3, 13, 16, 24) and ours.std() > 0.1
    for clip in range(2):
        theirs = published_decode(w, latents[clip].transpose(0, 1)).transpose(0, 1) * 2 - 1
        torch.testing.assert_close(ours[clip], theirs, rtol=0, atol=2e-6)


def test_each_latent_is_the_last_one_that_the_published_rule_gives_for_the_frames_up_to_it(codec):
    w = {name: tensor.float() for name, tensor in weights().items()}
    video = some_video()
    ours = codec.encode(video)
    assert ours.shape == (2, 4, 4, 2, 3)
    for clip in range(2):
        frames = (video[clip].transpose(0, 1) + 1) / 2
        for i in range(4):
            theirs = published_encode(w, frames[: 4 * i + 1])[-1]
            torch.testing.assert_close(ours[clip, :, i], theirs, rtol=0, atol=2e-6)


def test_frames_to_come_change_no_latent(codec):
    video = some_video()
    changed = torch.cat([video[:, :, :9], -video[:, :, 9:]], dim=2)
    first, second = codec.encode(video), codec.encode(changed)
    assert torch.equal(first[:, :, :3], second[:, :, :3]) and not torch.equal(first[:, :, 3], second[:, :, 3])


@pytest.mark.parametrize("pieces", [(1, 4, 4, 4), (5, 8), (9, 4), (1, 12)])
def test_a_stream_of_frames_equals_one_call_bit_for_bit(codec, pieces):
    video, stream = some_video(), codec.encoder()
    streamed = torch.cat([stream.push(piece) for piece in video.split(pieces, dim=2)], dim=2)
    assert torch.equal(streamed, codec.encode(video))


@pytest.mark.parametrize("pieces", [(1, 1, 1, 1), (1, 3), (3, 1)])
def test_a_stream_of_latents_equals_one_call_bit_for_bit(codec, pieces):
    latents, stream = some_latents(), codec.decoder()
    streamed = [stream.push(piece) for piece in latents.split(pieces, dim=2)]
    assert torch.equal(torch.cat(streamed, dim=2), codec.decode(latents))


def test_copies_go_their_own_ways(codec):
    video, latents = some_video(), some_latents()
    encoder, decoder = codec.encoder(), codec.decoder()
    encoder.push(video[:, :, :5])
    decoder.push(latents[:, :, :2])
    frames_aside, latents_aside = encoder.copy(), decoder.copy()
    encoder.push(-video[:, :, 5:9])
    decoder.push(-latents[:, :, 2:3])
    assert torch.equal(frames_aside.push(video[:, :, 5:]), codec.encode(video)[:, :, 2:])
    assert torch.equal(latents_aside.push(latents[:, :, 2:]), codec.decode(latents)[:, :, 5:])


def test_half_precision_stays_near_and_ends_in_float32(path, codec):
    half = TinyCodec(load_tiny_autoencoder(path), "cpu", torch.bfloat16)
    latents, video = some_latents(), some_video()
    decoded = half.decode(latents)
    assert decoded.dtype == torch.float32 and half.encode(video).dtype == torch.float32
    assert (decoded - codec.decode(latents)).abs().mean() < 0.02
    assert (half.encode(video) - codec.encode(video)).abs().mean() < 0.02
    assert not torch.equal(decoded, decoded.bfloat16().float()), "the last layer is not rounded to 8 bits"


def test_compiled_networks_say_the_same(path, codec, monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda function, **how: torch._dynamo.optimize("eager", **how)(function))
    compiled = TinyCodec(load_tiny_autoencoder(path), "cpu", torch.float32, compiled=True)
    latents, video = some_latents(), some_video()
    torch.testing.assert_close(compiled.decode(latents), codec.decode(latents))
    torch.testing.assert_close(compiled.encode(video), codec.encode(video))


@pytest.mark.parametrize("shape", [(1, 3, 4, 16, 24), (1, 3, 5, 12, 24), (1, 3, 0, 16, 24)])
def test_what_does_not_fit_the_grid_is_refused(codec, shape):
    with pytest.raises(ValueError, match="must be"):
        codec.encode(torch.zeros(shape))


def test_later_pieces_come_in_fours_and_latents_are_the_codecs_own(codec):
    stream = codec.encoder()
    stream.push(some_video(1))
    with pytest.raises(ValueError, match=r"must be 4n\+1"):
        stream.push(some_video(3))
    with pytest.raises(ValueError, match=r"need \(clips, 4,"):
        codec.decode(torch.zeros(1, 16, 1, 2, 2))


@pytest.mark.parametrize(
    "change, words",
    [
        ({"encoder.17.weight": None}, "encoder.17.weight' is missing"),
        ({"encoder.5.conv.2.bias": None}, "1 tensors missing"),
        ({"decoder.9.skip.weight": torch.zeros(8, 8, 1, 1)}, "1 foreign"),
        ({"encoder.5.conv.2.bias": torch.zeros(9)}, r"encoder\.5\.conv\.2\.bias is \(9,\)"),
        ({"encoder.0.weight": torch.zeros(8, 12, 3, 3)}, "patches of 12 channels"),
        ({"decoder.19.conv.weight": torch.zeros(6, 6, 1, 1)}, "2 frames a latent"),
        ({"decoder.19.conv.weight": torch.zeros(6)}, "joins and splits frames"),
        ({"encoder.0.weight": torch.zeros(8)}, "impossible shape"),
    ],
)
def test_another_networks_file_is_refused_in_words(tmp_path, change, words):
    tensors = {name: tensor for name, tensor in {**weights(), **change}.items() if tensor is not None}
    save_file(tensors, tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match=words):
        load_tiny_autoencoder(tmp_path / "other.safetensors")

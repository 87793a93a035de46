"""Latents of successive clips are those of one long recording, and every frame is encoded once."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")

from diffusers import AutoencoderKLWan  # noqa: E402

from dkt_ros.clips import ClipBuffer  # noqa: E402
from dkt_ros.engines.latent_stream import LatentStream  # noqa: E402
from dkt_ros.engines.wan_codec import WanCodec  # noqa: E402
from dkt_ros.frames import Clip, Frame  # noqa: E402

FRAMES = 29


@pytest.fixture(scope="module", params=[(True, True), (False, True)], ids=["groups of 4", "groups of 2"])
def codec(request):
    torch.manual_seed(0)
    model = AutoencoderKLWan(
        base_dim=4, z_dim=4, dim_mult=[1, 2, 2], num_res_blocks=1, temperal_downsample=list(request.param),
        latents_mean=[0.0] * 4, latents_std=[1.0] * 4,
    )  # fmt: skip
    return WanCodec(model, "cpu", torch.float32)


def recording(count=FRAMES, seed=0):
    random = np.random.default_rng(seed)
    return [Frame(i, "camera", random.integers(0, 256, (8, 16, 3), np.uint8), None, None) for i in range(count)]


class Encoding:
    """``to_video`` that remembers what it was asked for."""

    def __init__(self):
        self.stamps = []

    def __call__(self, frames):
        self.stamps += [each.stamp_ns for each in frames]
        return torch.from_numpy(np.stack([each.rgb for each in frames])).permute(3, 0, 1, 2)[None] / 127.5 - 1


def clips(frames, length, overlap):
    buffer = ClipBuffer(length, overlap, capacity=len(frames))
    for each in frames:
        buffer.push(each)
    while (clip := buffer.take() or buffer.flush()) is not None:
        yield clip


def in_latents(codec, frame):
    """Index of the latent whose last frame this is."""
    return -(-frame // codec.group)


@pytest.mark.parametrize(("length", "overlap"), [(5, 1), (9, 5), (13, 9), (21, 1), (29, 9)])
def test_clips_are_slices_of_the_recording(codec, length, overlap):
    frames, asked, stream = recording(), Encoding(), LatentStream(codec)
    whole = codec.encode(Encoding()(frames))
    decoded = codec.decode(whole)
    seen = 0
    for clip in clips(frames, length, overlap):
        first, last = clip.frames[0].stamp_ns, clip.frames[-1 - clip.padding].stamp_ns
        latents = stream.latents(clip, asked)
        pictures = stream.decode(latents)
        kept = in_latents(codec, last - first)
        wanted = whole[:, :, in_latents(codec, first) : in_latents(codec, last) + 1]
        assert torch.equal(latents[:, :, : kept + 1], wanted)
        assert pictures.shape[2] == len(clip.frames)
        assert torch.equal(pictures[:, :, : last - first + 1], decoded[:, :, first : last + 1])
        seen = last
    assert seen == FRAMES - 1
    real = asked.stamps[: asked.stamps.index(FRAMES - 1) + 1]
    assert real == list(range(FRAMES)), "each frame encoded once, in order"


def test_padding_is_encoded_like_frames(codec):
    frames, stream = recording(11), LatentStream(codec)
    (*_, last) = made = list(clips(frames, 9, 5))
    assert last.padding == 2
    for clip in made:
        latents = stream.latents(clip, Encoding())
        pictures = stream.decode(latents)
    padded = codec.encode(Encoding()([*frames, frames[-1], frames[-1]]))
    assert torch.equal(latents, padded[:, :, in_latents(codec, 4) :])
    assert torch.equal(pictures, codec.decode(padded)[:, :, 4:])


def test_a_changed_overlap_changes_what_follows_and_nothing_before(codec):
    """The shared latents are decoded as the later clip gives them, from the state before them."""
    frames, stream = recording(21), LatentStream(codec)
    first, second = clips(frames, 13, 5)
    whole = codec.encode(Encoding()(frames[:21]))
    stream.decode(stream.latents(first, Encoding()))
    changed = 0.5 * stream.latents(second, Encoding())
    start = in_latents(codec, 8)
    wanted = codec.decode(torch.cat([whole[:, :, :start], changed], dim=2))[:, :, 8:]
    assert torch.equal(stream.decode(changed), wanted)


def test_a_smaller_overlap_continues_and_a_larger_one_starts_anew(codec):
    frames, stream = recording(29), LatentStream(codec)
    whole = codec.encode(Encoding()(frames))
    for clip in list(clips(frames[:17], 13, 9)):
        stream.decode(stream.latents(clip, Encoding()))
    smaller = Clip(tuple(frames[16:25]), 1, 0, True)
    latents = stream.latents(smaller, Encoding())
    assert torch.equal(latents, whole[:, :, in_latents(codec, 16) : in_latents(codec, 24) + 1])
    assert torch.equal(stream.decode(latents), codec.decode(whole)[:, :, 16:25])
    larger, asked = Clip(tuple(frames[20:29]), 5, 0, True), Encoding()
    assert torch.equal(stream.latents(larger, asked), codec.encode(Encoding()(larger.frames)))
    assert asked.stamps == list(range(20, 29))


def test_a_clip_that_holds_all_of_the_one_before_starts_anew(codec):
    """The single frame of a recording's first latent has no other three before it that could be left out."""
    frames, stream = recording(9), LatentStream(codec)
    stream.decode(stream.latents(Clip(tuple(frames[:5])), Encoding()))
    longer = Clip(tuple(frames), 5, 0, True)
    latents = stream.latents(longer, Encoding())
    assert torch.equal(stream.decode(latents), codec.decode(codec.encode(Encoding()(frames))))


@pytest.mark.parametrize("why", ["a start", "another recording", "after padding", "never decoded", "failed before"])
def test_what_does_not_continue_starts_anew(codec, why):
    frames, stream, asked = recording(25), LatentStream(codec), Encoding()
    before = Clip(tuple(frames[:9]), 0, 2 if why == "after padding" else 0)
    after = Clip(tuple(frames[4:13]), 5, 0, True)
    if why == "another recording":
        after = Clip(tuple(recording(25, seed=1)[4:13]), 5, 0, True)
    if why == "a start":
        after = Clip(tuple(frames[4:13]))
    latents = stream.latents(before, Encoding())
    if why != "never decoded":
        stream.decode(latents)
    if why == "failed before":
        with pytest.raises(MemoryError):
            stream.latents(after, out_of_memory)
    given = stream.latents(after, asked)
    assert asked.stamps == list(range(4, 13))
    alone = codec.encode(Encoding()(after.frames))
    assert torch.equal(given, alone)
    assert torch.equal(stream.decode(given), codec.decode(alone))


def out_of_memory(frames):
    raise MemoryError


def test_clips_of_one_frame_are_recordings(codec):
    stream = LatentStream(codec)
    for clip in clips(recording(3), 1, 1):
        latents = stream.latents(clip, Encoding())
        assert torch.equal(latents, codec.encode(Encoding()(clip.frames)))
        assert stream.decode(latents).shape[2] == 1


def test_misuse_is_told(codec):
    stream, frames = LatentStream(codec), recording(13)
    with pytest.raises(RuntimeError, match="ask for its latents first"):
        stream.decode(torch.zeros(1, 4, 1, 2, 4))
    latents = stream.latents(Clip(tuple(frames[:5])), Encoding())
    with pytest.raises(ValueError, match="this clip has"):
        stream.decode(latents[:, :, :1])
    stream.decode(latents)
    with pytest.raises(RuntimeError, match="once"):
        stream.decode(latents)
    with pytest.raises(ValueError, match=r"overlap of 3 frames: must be 4m\+1"):
        stream.latents(Clip(tuple(frames[2:11]), 3, 0, True), Encoding())

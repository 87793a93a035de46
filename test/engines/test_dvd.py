"""The DVD engine: the published numbers on tiny random weights, how windows leave it, what it refuses.

Numbers are the reference's own, in float32, see test/fixtures/README.md.
"""

from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")

from safetensors.torch import save_file  # noqa: E402

from dkt_ros.engines import EngineOptions, load_engine  # noqa: E402
from dkt_ros.engines.checkpoints import CheckpointError  # noqa: E402
from dkt_ros.engines.dvd import PROFILES, DvdEngine, dvd_card, resized  # noqa: E402
from dkt_ros.engines.dvd_network import DvdNetwork  # noqa: E402
from dkt_ros.engines.dvd_windows import RULES, working_size  # noqa: E402
from dkt_ros.engines.tiny_autoencoder import TinyAutoencoder, TinySizes, load_tiny_autoencoder  # noqa: E402
from dkt_ros.engines.tiny_codec import TinyCodec  # noqa: E402
from dkt_ros.engines.video_codecs import MixedCodec  # noqa: E402
from dkt_ros.frames import Clip, Frame  # noqa: E402
from test.engines.published import DVD_CONFIG, dvd_folder, dvd_tensors  # noqa: E402

FIXTURES = Path(__file__).parents[1] / "fixtures" / "dvd"
#: (height, width) of the tiny recordings: on the grid, so that nothing is resized.
SMALL = (32, 48)


def frame(index, size=SMALL, seed=0):
    """A picture that changes slowly from frame to frame."""
    v, u = np.mgrid[: size[0], : size[1]]
    phase = np.array([0.0, 1.0, 2.0])
    rgb = 127.5 + 127 * np.sin(u[..., None] / 7 + phase + 0.2 * index + seed) * np.cos(v[..., None] / 5 + 0.1 * index)
    return Frame(index * 33_000_000, "camera", rgb.astype(np.uint8))


def recording(count, size=SMALL):
    return [frame(index, size) for index in range(count)]


class Prepared:
    """Hands out prepared windows (T, h, w, 3) in turn, and notes the (frames, height, width) that it was asked."""

    def __init__(self, answers):
        self.answers, self.calls = list(answers), []

    def alone(self, video):
        self.calls.append(tuple(video.shape[2:]))
        return torch.from_numpy(self.answers.pop(0)).permute(3, 0, 1, 2).unsqueeze(0)

    def following(self, clip, to_video):
        raise AssertionError("a published mode never continues a stream")

    def make_room(self):
        return len(self.answers) > 1


class Ramp:
    """Answers with the picture's own red, so that one sees where a pixel went."""

    def alone(self, video):
        return (video[:, :1].expand_as(video) + 1) / 2

    def following(self, clip, to_video):
        return self.alone(to_video(clip.frames))


def an_engine(network, mode="windowed", rule="demo", target=SMALL):
    return DvdEngine(network, dvd_card(mode, "reference"), mode, RULES[rule], target)


def stitched_names():
    return sorted(path.stem.removeprefix("stitch_") for path in FIXTURES.glob("stitch_*.npz"))


@pytest.mark.parametrize("name", [n for n in stitched_names() if "scale_only" not in n])
def test_a_recording_in_windows_is_the_references(name, monkeypatch):
    """Through the engine: it must ask for the same windows, padded in time alike, and return the channels' mean."""
    # The reference's stitcher comes after its resize, and was fed pictures off the codec's grid.
    monkeypatch.setattr("dkt_ros.engines.dvd.working_size", lambda height, width, target: (height, width))
    with np.load(FIXTURES / f"stitch_{name}.npz") as data:
        count, window, overlap = (int(data[key]) for key in ("T", "window", "overlap"))
        network = Prepared([data[f"window_{k}"][0] for k in range(len(data["index"]))])
        calls, wanted, index = data["pipe_calls"], data["out"][0].mean(axis=-1), data["index"]
    frames = recording(count, (8, 10))
    engine = an_engine(network, rule=name.split("_")[0])
    clips, predictions = zip(*engine.predict_video(frames, count, window, overlap), strict=True)
    assert network.calls == [tuple(call) for call in calls]
    np.testing.assert_allclose(np.concatenate([p.disparity for p in predictions]), wanted, rtol=0, atol=5e-6)
    assert [f for clip in clips for f in clip.frames[clip.fresh]] == frames
    assert [clip.starts for clip in clips] == [True] + [False] * (len(clips) - 1)
    assert not predictions[0].same_units
    shared = [bool(end > start) and "const" not in name for (_, end), (start, _) in pairwise(index)]
    assert [p.same_units for p in predictions[1:]] == shared


def test_windows_that_share_nothing_keep_their_own_units():
    predictions = [p for _, p in an_engine(Ramp()).predict_video(recording(10), 10, 5, 0)]
    assert [p.same_units for p in predictions] == [False, False]


@pytest.mark.parametrize("mode", ["windowed", "single"])
@pytest.mark.parametrize("count", [1, 2, 4, 5, 6, 11])
def test_every_frame_comes_back_once(count, mode):
    frames = recording(count)
    engine = an_engine(Ramp(), mode)
    found = list(engine.predict_video(frames, count, 5, 1))
    assert [f for clip, _ in found for f in clip.frames] == frames
    disparity = np.concatenate([p.disparity for _, p in found])
    assert disparity.dtype == np.float32
    if mode == "single":
        assert len(found) == 1
    # A window that repeats what it saw is brought onto itself, so the picture comes back as it is.
    np.testing.assert_allclose(disparity, [f.rgb[..., 0] / 255 for f in frames], atol=1e-4)


def test_windows_are_read_as_they_are_needed():
    read = []

    def source():
        for f in recording(30):
            read.append(f)
            yield f

    answers = an_engine(Ramp()).predict_video(source(), 30, 9, 3)
    assert not read, "nothing is read before the first answer is wanted"
    next(answers)
    assert len(read) == 9


@pytest.mark.parametrize(("told", "words"), [(12, "told of 12 frames, got 11"), (10, "told of 10 frames, got more")])
def test_a_wrong_count_is_refused(told, words):
    with pytest.raises(ValueError, match=words):
        list(an_engine(Ramp()).predict_video(recording(11), told, 5, 1))


def test_a_window_equal_to_its_overlap_is_refused_at_once():
    with pytest.raises(ValueError, match=r"overlap 9, window 9: .*smaller overlap"):
        an_engine(Ramp()).predict_video(recording(20), 20, 9, 9)


def test_frames_of_different_sizes_are_refused():
    mixed = [*recording(6), frame(6, (48, 32))]
    with pytest.raises(ValueError, match="different sizes"):
        list(an_engine(Ramp()).predict_video(mixed, 7, 5, 1))
    with pytest.raises(ValueError, match="different sizes"):
        an_engine(Ramp(), "streaming").predict(Clip(tuple(mixed[-5:])))


@pytest.mark.parametrize("count", [2, 4, 6])
def test_clips_must_fill_the_codecs_groups(count):
    with pytest.raises(ValueError, match=rf"{count} frames; must be 4n\+1"):
        an_engine(Ramp()).predict(Clip(tuple(recording(count))))


def test_a_constant_prediction_passes_unchanged():
    flat = [np.full((5, 32, 48, 3), 0.25, np.float32) for _ in range(2)]
    predictions = [p for _, p in an_engine(Prepared(flat)).predict_video(recording(9), 9, 5, 1)]
    assert all((p.disparity == 0.25).all() for p in predictions)


@pytest.mark.parametrize("size", [(97, 61), (33, 75), (64, 36)], ids=["portrait", "odd", "small"])
def test_pictures_of_any_shape_reach_the_grid(size):
    network = Prepared([np.zeros((5, 16, 16, 3), np.float32)])
    list(an_engine(network, target=(64, 64)).predict_video(recording(5, size), 5, 5, 1))
    ((_, height, width),) = network.calls
    assert (height, width) == working_size(*size, (64, 64))
    assert height % 16 == width % 16 == 0 and height >= 64 and width >= 64


def test_the_published_resize():
    with np.load(FIXTURES / "resize.npz") as data:
        video, target, wanted = data["video_in"][0], data["target"], data["video_out"][0]
        depth, back, (height, width) = data["depth_in"], data["depth_back"], data["orig_hw"]
    size = working_size(*video.shape[2:], tuple(target))
    np.testing.assert_allclose(resized(torch.from_numpy(video), size), wanted, rtol=0, atol=1e-6)
    found = resized(torch.from_numpy(depth).permute(0, 3, 1, 2), (int(height), int(width))).permute(0, 2, 3, 1)
    np.testing.assert_allclose(found, back, rtol=0, atol=1e-6)
    # Perception goes back with OpenCV, whose weights are a little coarser.
    found = [cv2.resize(d, (int(width), int(height)), interpolation=cv2.INTER_LINEAR) for d in depth]
    np.testing.assert_allclose(found, back, rtol=0, atol=1e-5)


def test_a_long_clip_is_resized_as_its_pictures_are_one_by_one():
    engine, frames = an_engine(Ramp(), target=(48, 64)), recording(21, (61, 97))
    alone = torch.cat([engine._video([each]) for each in frames], dim=2)
    assert torch.equal(engine._video(frames), alone) and alone.shape == (1, 3, 21, 48, 80)


def test_pictures_become_values_between_minus_one_and_one():
    seen = []

    class Looks(Ramp):
        def alone(self, video):
            seen.append(video)
            return video

    frames = [Frame(0, "camera", np.random.default_rng(1).integers(0, 256, (*SMALL, 3)).astype(np.uint8))]
    an_engine(Looks()).predict(Clip(tuple(frames)))
    (video,) = seen
    assert video.shape == (1, 3, 1, *SMALL) and video.dtype == torch.float32
    np.testing.assert_allclose(video[0, :, 0].permute(1, 2, 0), frames[0].rgb / 127.5 - 1, atol=1e-6)


def test_smaller_pictures_when_memory_is_short():
    network = Prepared([np.zeros((1, 16, 16, 3), np.float32)])
    engine = an_engine(network, target=(480, 640))
    said = [engine.smaller() for _ in range(4)]
    assert said == [
        "works on pictures that cover 480x360 instead of 640x480",
        "works on pictures that cover 360x270 instead of 480x360",
        "works on pictures that cover 320x240 instead of 360x270",
        None,
    ]
    list(engine.predict_video(recording(1, (480, 640)), 1, 5, 1))
    assert network.calls == [(1, 240, 320)]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A tiny DVD in a folder as published."""
    return dvd_folder(tmp_path_factory.mktemp("dvd"))


@pytest.fixture(scope="module")
def published():
    with np.load(FIXTURES / "pipeline.npz") as stored:
        return {name: torch.from_numpy(stored[name]) for name in stored}


def load(weights, **choices):
    return load_engine("dvd", EngineOptions(weights=weights, device="cpu", **choices))


def as_video(pictures):
    """(B, T, 3, H, W) in [0, 1] -> what the network takes."""
    return pictures.permute(0, 2, 1, 3, 4) * 2 - 1


def as_pictures(video):
    return video.permute(0, 2, 3, 4, 1)


def test_every_step_of_the_pipeline(tiny, published):
    network = load(tiny)._network
    with torch.inference_mode():
        latents = network.codec.encode(as_video(published["rgb"]))
        torch.testing.assert_close(latents, published["z_rgb"], rtol=0, atol=2e-5)
        depth = network.transformer(published["z_rgb"], 0)
        torch.testing.assert_close(depth, published["z_depth"], rtol=0, atol=2e-5)
        whole = network.alone(as_video(published["rgb"]))
        torch.testing.assert_close(as_pictures(whole), published["depth"], rtol=0, atol=2e-5)


def test_single_pictures(tiny, published):
    with torch.inference_mode():
        found = load(tiny)._network.alone(as_video(published["images"]))
    torch.testing.assert_close(as_pictures(found), published["images_depth"], rtol=0, atol=2e-5)


def test_the_time_of_the_pass_is_the_configurations(tmp_path, published):
    folder = dvd_folder(tmp_path, DVD_CONFIG.replace("denoise_step: 0.5", "denoise_step: 0.25"))
    with torch.inference_mode():
        found = load(folder)._network.alone(as_video(published["rgb"]))
    torch.testing.assert_close(as_pictures(found), published["depth_tau025"], rtol=0, atol=2e-5)
    assert (published["depth_tau025"] - published["depth"]).abs().max() > 1e-3, "and it matters"


def eight_bits(pictures):
    """The fixture's pictures as frames."""
    return [
        Frame(index, "camera", (picture.permute(1, 2, 0) * 255).round().to(torch.uint8).numpy())
        for index, picture in enumerate(pictures)
    ]


@pytest.mark.parametrize("mode", ["streaming", "windowed", "single"])
def test_a_first_clip_is_a_fresh_window_in_every_mode(tiny, published, mode):
    """From frames to disparity, within what 8 bits of a picture change."""
    engine = load(tiny, mode=mode)
    engine._target = SMALL
    prediction = engine.predict(Clip(tuple(eight_bits(published["rgb"][0]))))
    assert prediction.kind == "affine" and prediction.normals is None and not prediction.same_units
    assert prediction.disparity.dtype == np.float32 and prediction.disparity.shape == (9, *SMALL)
    wanted = published["depth"][0].mean(dim=-1)
    np.testing.assert_allclose(prediction.disparity, wanted, rtol=0, atol=6e-3)


def test_a_window_by_itself_is_a_clip_by_itself(tiny):
    engine = load(tiny, mode="windowed")
    engine._target = SMALL
    frames = recording(7)
    ((clip, prediction),) = engine.predict_video(frames, 7, 9, 5)
    alone = engine.predict(Clip((*frames, frames[-1], frames[-1])))
    assert clip.frames == tuple(frames)
    np.testing.assert_allclose(prediction.disparity, alone.disparity[:7], rtol=0, atol=1e-6)


def test_a_stream_starts_anew_and_forgets(tiny):
    engine = load(tiny)
    engine._target = SMALL
    frames = recording(17)
    first, second = Clip(tuple(frames[:9])), Clip(tuple(frames[4:13]), overlap=5, follows=True)
    expected = engine.predict(first).disparity
    engine.predict(second)
    np.testing.assert_array_equal(engine.predict(first).disparity, expected)


def test_a_stream_that_goes_on_is_not_a_fresh_window(tiny):
    """What the card and the docstring say of this mode: close to, and not the same as, the published numbers."""
    streaming, windowed = load(tiny), load(tiny, mode="windowed")
    streaming._target = windowed._target = SMALL
    frames = recording(13)
    first, second = Clip(tuple(frames[:9])), Clip(tuple(frames[4:13]), overlap=5, follows=True)
    streaming.predict(first)
    found, fresh = streaming.predict(second).disparity, windowed.predict(second).disparity
    assert found.shape == fresh.shape
    assert np.abs(found - fresh).max() > 1e-4


@pytest.mark.parametrize(("length", "overlap"), [(9, 5), (13, 1), (5, 1)])
def test_a_stream_is_the_whole_recording_encoded_once(tiny, length, overlap):
    """One long encoding, each clip's share of it through the transformer, decoded after what was decoded before."""
    engine = load(tiny)
    engine._target = SMALL
    network, step, shared = engine._network, length - overlap, (overlap - 1) // 4 + 1
    frames = recording(length + 2 * step)
    with torch.inference_mode():
        latents, decoder = network.codec.encode(engine._video(frames)), network.codec.decoder()
        for k in range(3):
            clip = Clip(tuple(frames[k * step : k * step + length]), overlap if k else 0, follows=k > 0)
            start = k * step // 4
            depth = network.transformer(latents[:, :, start : start + (length - 1) // 4 + 1], 0)
            wanted = decoder.copy().push(depth)[0, :, 3 if k else 0 :]
            decoder.push(depth[:, :, : depth.shape[2] - shared])
            found = engine.predict(clip).disparity
            np.testing.assert_allclose(found, (wanted.mean(dim=0) + 1) / 2, rtol=0, atol=2e-6)


def test_a_stream_goes_on_after_a_failure_with_a_new_start(tiny):
    engine = load(tiny)
    engine._target = SMALL
    clip = Clip(tuple(recording(9)))
    expected = engine.predict(clip).disparity
    whole, engine._network.transformer = engine._network.transformer, None
    with pytest.raises(TypeError):
        engine.predict(clip)
    engine._network.transformer = whole
    np.testing.assert_array_equal(engine.predict(clip).disparity, expected)


def test_the_transformer_leaves_the_gpu_between_passes_when_memory_is_short(tiny, published):
    network, places = load(tiny)._network, []

    class Traveller:
        def to(self, place):
            places.append(str(place))
            return self

        def __call__(self, latents, step):
            assert places[-1] == "cuda:0"
            return latents

    assert not network.make_room(), "there is nothing to gain on a CPU"
    gpu = DvdNetwork(MixedCodec(network.codec, network.codec), Traveller())
    gpu.codec.device = torch.device("cuda:0")
    assert gpu.make_room() and not gpu.make_room(), "once"
    gpu.alone(as_video(published["images"]))
    assert places == ["cpu", "cuda:0", "cpu"]


@pytest.fixture(scope="module")
def with_small_codec(tmp_path_factory):
    """A tiny DVD beside a small codec of the same latents."""
    folder = dvd_folder(tmp_path_factory.mktemp("dvd"))
    torch.manual_seed(1)
    small = TinyAutoencoder(TinySizes(16, 8, (12, 8, 6, 6), (2, 2, 1), (1, 2, 2)))
    save_file({name: tensor.half() for name, tensor in small.state_dict().items()}, folder / "taew2_1.safetensors")
    return folder


def test_a_small_codec_decodes_what_the_full_one_encoded(with_small_codec, published):
    network = load(with_small_codec, vae="tiny")._network
    small = TinyCodec(load_tiny_autoencoder(with_small_codec / "taew2_1.safetensors"), "cpu", torch.float32)
    with torch.inference_mode():
        torch.testing.assert_close(network.codec.encode(as_video(published["rgb"])), published["z_rgb"])
        wanted = (small.decode(network.transformer(published["z_rgb"], 0)) + 1) / 2
        found = network.alone(as_video(published["rgb"]))
    torch.testing.assert_close(found, wanted, rtol=0, atol=2e-5)


def test_a_small_codec_may_encode_too(with_small_codec, published):
    network = load(with_small_codec, vae="tiny_both")._network
    assert isinstance(network.codec, TinyCodec)
    small = TinyCodec(load_tiny_autoencoder(with_small_codec / "taew2_1.safetensors"), "cpu", torch.float32)
    with torch.inference_mode():
        video = as_video(published["rgb"])
        wanted = (small.decode(network.transformer(small.encode(video), 0)) + 1) / 2
        torch.testing.assert_close(network.alone(video), wanted, rtol=0, atol=2e-5)


@pytest.mark.parametrize("vae", ["tiny", "tiny_both"])
def test_a_stream_with_a_small_codec(with_small_codec, vae):
    engine = load(with_small_codec, vae=vae)
    engine._target = SMALL
    frames = recording(13)
    engine.predict(Clip(tuple(frames[:9])))
    found = engine.predict(Clip(tuple(frames[4:]), overlap=5, follows=True)).disparity
    assert found.shape == (9, *SMALL) and np.isfinite(found).all()


def test_a_small_codec_that_is_not_there_is_asked_for(tiny):
    with pytest.raises(CheckpointError, match=r"lacks the tiny codec.*taew2_1\.safetensors"):
        load(tiny, vae="tiny")


def test_codecs_of_different_latents_are_not_mixed(tiny):
    full = load(tiny)._network.codec
    other = TinyCodec(TinyAutoencoder(TinySizes(4, 8, (12, 8, 6, 6), (2, 2, 1), (1, 2, 2))), "cpu", torch.float32)
    with pytest.raises(ValueError, match=r"16 channels.*made for Wan 2.1"):
        MixedCodec(full, other)


def test_one_version_after_the_other_loads(tmp_path):
    folder = dvd_folder(tmp_path, name="dvd_1.1.safetensors")
    assert load(folder).card.name == "dvd"
    assert load(folder / "dvd_1.1.safetensors").card.name == "dvd"


def test_two_versions_in_one_folder_are_refused_by_name(tmp_path):
    folder = dvd_folder(dvd_folder(tmp_path), name="dvd_1.1.safetensors")
    with pytest.raises(CheckpointError, match=r"(?s)dvd_1\.1\.safetensors.*model\.safetensors"):
        load(folder)
    assert load(folder / "model.safetensors").card.name == "dvd"


def test_the_codec_may_be_a_file_of_its_own(tmp_path, published):
    tensors = dvd_tensors()
    folder = dvd_folder(tmp_path)
    save_file({k: v for k, v in tensors.items() if k.startswith("pipe.dit.")}, folder / "model.safetensors")
    with pytest.raises((CheckpointError, FileNotFoundError), match="lacks the codec"):
        load(folder)
    codec = {k.removeprefix("pipe.vae."): v for k, v in tensors.items() if k.startswith("pipe.vae.")}
    save_file(codec, folder / "Wan2.1_VAE.safetensors")
    with torch.inference_mode():
        found = load(folder)._network.alone(as_video(published["rgb"]))
    torch.testing.assert_close(as_pictures(found), published["depth"], rtol=0, atol=2e-5)


@pytest.mark.parametrize(
    ("choices", "words"),
    [
        ({"steps": 5}, "steps = 5: .*one pass"),
        ({"normals_axes": "+x+y+z"}, "normals_axes"),
        ({"mode": "fast"}, "mode = fast: .*single, windowed, streaming"),
        ({"profile": "tiny"}, "profile = tiny: .*reference, low_latency"),
        ({"stitching": "best"}, "stitching 'best': .*demo, eval"),
        ({"vae": "none"}, "vae = none: .*full, tiny"),
    ],
)
def test_choices_that_it_does_not_have(tiny, choices, words):
    with pytest.raises(ValueError, match=words):
        load(tiny, **choices)


def test_it_says_where_weights_come_from():
    with pytest.raises(ValueError, match=r"dkt models fetch dvd-1\.1"):
        load_engine("dvd", EngineOptions())


def test_the_card(tiny):
    card = load(tiny, steps=1).card
    assert (card.licence, card.kind) == ("CC-BY-NC-4.0", "affine")
    assert not card.gives_normals and not card.reads_sensor_depth
    assert (card.clip_length, card.overlap) == PROFILES["reference"] == (45, 9)
    assert card.whole_groups and not card.whole_video
    offline = load(tiny, mode="windowed", profile="low_latency").card
    assert (offline.clip_length, offline.overlap) == (21, 5)
    assert offline.whole_video and not offline.whole_groups
    assert load(tiny, mode="single").card.clip_lengths == (45,)


def test_bfloat16_is_near_float32(tiny):
    engines = [load(tiny, mode="windowed", precision=precision) for precision in ("float32", "bfloat16")]
    clip = Clip(tuple(recording(9)))
    for engine in engines:
        engine._target = SMALL
    exact, rounded = (engine.predict(clip).disparity for engine in engines)
    assert rounded.dtype == np.float32
    assert 0 < np.mean(np.abs(rounded - exact) / exact.clip(1e-3)) < 0.01

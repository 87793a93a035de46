"""DKT on tiny random weights in the published layout: the published pipeline's numbers, streams, and bad input."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from dkt_ros.clips import ClipBuffer
from dkt_ros.engines import EngineOptions, dkt_windowed, flow, load_engine
from dkt_ros.engines.checkpoints import CheckpointError
from dkt_ros.engines.dkt import dkt_card, load
from dkt_ros.engines.dkt_engine import DktEngine
from dkt_ros.engines.pictures import Axes, spectral, to_normals, to_uint8
from dkt_ros.engines.prompts import save_prompt
from dkt_ros.engines.tiny_autoencoder import TinyAutoencoder, TinySizes
from dkt_ros.engines.wan_codec import WanCodec
from dkt_ros.engines.wan_transformer import FoldedTransformer
from dkt_ros.engines.weights import load_codec, load_transformer
from dkt_ros.engines.windows import latent_windows, windowed_step
from dkt_ros.frames import Clip, Frame, Prediction, UInt8
from dkt_ros.perception import Perception, PerceptionSettings
from test.engines.published import DKT, dkt_folder

SIZE = (48, 32)
with np.load(DKT / "e2e_tiny.npz") as _stored:
    PUBLISHED = dict(_stored)
#: Case -> steps, window and overlap in latent frames.
CASES = {"land": (5, 5, 2), "one": (1, 5, 2)}


@pytest.fixture(scope="module")
def codec() -> WanCodec:
    return WanCodec(load_codec(DKT / "vae_tiny_reference.safetensors"), "cpu", torch.float32)


def folded(steps: int, exact: bool = False, loras: Sequence[Path] = ()) -> FoldedTransformer:
    model = load_transformer(DKT / "dit_tiny_reference.safetensors", loras)
    text = load_file(DKT / "dit_tiny_io.safetensors")["context"][0]
    return FoldedTransformer(model, flow.times(steps, rounded=not exact), text, image_token=True)


@pytest.fixture(scope="module")
def depth() -> FoldedTransformer:
    return folded(2)


@pytest.fixture(scope="module")
def normals() -> FoldedTransformer:
    return folded(2, loras=[DKT / "dit_tiny_lora.safetensors"])


@pytest.fixture
def engine(codec: WanCodec, depth: FoldedTransformer) -> DktEngine:
    return DktEngine(dkt_card("streaming", "low_latency"), codec, depth, steps=2, size=SIZE)


def windowed(codec: WanCodec, depth: FoldedTransformer) -> DktEngine:
    return DktEngine(dkt_card("windowed", "low_latency"), codec, depth, steps=2, size=SIZE)


def recording(count: int, width: int = 48, height: int = 32, seed: int = 0) -> list[Frame]:
    """Frames of smooth noise that moves to the right."""
    rng = np.random.default_rng(seed)
    pattern = np.kron(rng.integers(0, 256, (height // 8 + 1, (width + count) // 8 + 1, 3)), np.ones((8, 8, 1)))
    pictures = [pattern[:height, i : i + width].astype(np.uint8) for i in range(count)]
    return [Frame(i, "camera", rgb) for i, rgb in enumerate(pictures)]


def as_frames(pictures: UInt8) -> list[Frame]:
    return [Frame(i, "camera", rgb) for i, rgb in enumerate(pictures)]


def disparity(answers: Iterator[tuple[Clip, Prediction]]) -> np.ndarray:
    return np.concatenate([prediction.disparity for _, prediction in answers])


# --- the published pipeline -------------------------------------------------------------------------------------------


class Recorded:
    """The published run of one case, stage by stage, through the engine's own parts."""

    def __init__(self, codec: WanCodec, case: str) -> None:
        self.steps, window, overlap = CASES[case]
        self.frames = as_frames(PUBLISHED[f"{case}.frames"])
        transformer = folded(self.steps, exact=True)
        self.engine = DktEngine(
            dkt_card("windowed", "reference"),
            codec, transformer, steps=self.steps, size=SIZE, reference_quantisation=True,
        )  # fmt: skip
        count = len(self.frames)
        length = dkt_windowed.latent_frames(count)
        padded = self.frames + self.frames[-1:] * (4 * (length - 1) + 1 - count)
        self.pictures = self.engine._to_video(padded)
        self.control = codec.encode(self.pictures)
        self.windows, self.overlap = latent_windows(length, window, overlap), overlap
        noise = flow.StartNoise(16, length, 4, 6).take(length)
        blended = windowed_step(
            iter([(noise, self.control)]), self.windows, overlap,
            velocity=lambda x, y: transformer(torch.cat([x, y, torch.zeros_like(y)], 1), 0),
            advance=lambda x, velocity: velocity,
        )  # fmt: skip
        self.velocity = torch.cat([stretch[0] for stretch in blended], 2)
        (denoise,) = self.engine._denoisers(self.windows, overlap)
        self.latents = torch.cat([stretch[0] for stretch in denoise(iter([(noise, self.control)]))], 2)
        self.video = codec.decode(self.latents)
        self.map = disparity(self.engine.predict_video(iter(self.frames), count, 4 * window - 3, 4 * overlap - 3))


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest, codec: WanCodec) -> tuple[dict[str, np.ndarray], Recorded]:
    name = request.param
    ours = {key.removeprefix(f"{name}."): value for key, value in PUBLISHED.items() if key.startswith(f"{name}.")}
    with torch.inference_mode():
        return ours, Recorded(codec, name)


Case = tuple[dict[str, np.ndarray], Recorded]


def test_pictures_are_the_published_ones(case: Case) -> None:
    published, ours = case
    pictures = ((ours.pictures[0] + 1) * 127.5).round().permute(1, 2, 3, 0)
    np.testing.assert_array_equal(pictures, published["resized_padded"])
    if "preprocessed" in published:
        np.testing.assert_allclose(ours.pictures, published["preprocessed"], rtol=0, atol=1e-6)


def test_control_latents_are_the_published_ones(case: Case) -> None:
    published, ours = case
    np.testing.assert_allclose(ours.control, published["control_latents"], rtol=0, atol=1e-5)


def test_the_joined_velocity_is_the_published_one(case: Case) -> None:
    published, ours = case
    np.testing.assert_allclose(ours.velocity, published["velocity_step0"], rtol=0, atol=1e-4)


def test_clean_latents_are_the_published_ones(case: Case) -> None:
    published, ours = case
    np.testing.assert_allclose(ours.latents, published["final_latents"], rtol=0, atol=1e-4)


def test_the_decoded_video_is_the_published_one(case: Case) -> None:
    published, ours = case
    np.testing.assert_allclose(ours.video, published["vae_out"], rtol=0, atol=1e-4)
    steps = np.abs(to_uint8(ours.video[0]).permute(0, 2, 3, 1).numpy().astype(int) - published["video_u8"])
    assert steps.max() <= 1 and (steps > 0).mean() <= 1e-3


def test_the_disparity_of_the_whole_pipeline_is_the_published_one(case: Case) -> None:
    published, ours = case
    assert ours.map.dtype == np.float32 and ours.map.shape == published["depth_map"].shape
    np.testing.assert_allclose(ours.map, published["depth_map"], rtol=0, atol=1.5 / 765)


@pytest.mark.parametrize("name", CASES)
def test_the_colours_of_the_disparity_are_the_published_ones(name: str) -> None:
    np.testing.assert_array_equal(spectral(PUBLISHED[f"{name}.depth_map"]), PUBLISHED[f"{name}.colored"])


def test_the_float_path_differs_by_a_level_at_most_and_not_on_average_after_a_shift(codec: WanCodec) -> None:
    frames = as_frames(PUBLISHED["one.frames"])
    engine = DktEngine(dkt_card("windowed", "reference"), codec, folded(1), steps=1, size=(48, 32))
    exact = disparity(engine.predict_video(iter(frames), 1, 17, 5))
    levels = PUBLISHED["one.video_u8"].mean(-1) / 255
    assert exact.shape == levels.shape
    assert (exact - levels).min() >= -1e-5 and (exact - levels).max() <= 1 / 255 + 1e-5
    assert (exact - levels).mean() == pytest.approx(0.5 / 255, abs=0.1 / 255)


def test_rounded_times_agree_with_the_published_bfloat16_run_and_exact_ones_do_not(codec: WanCodec) -> None:
    def errors(exact: bool) -> tuple[float, float]:
        caught: list[Tensor] = []

        class Catching(WanCodec):
            """Hands on to ``codec`` and keeps what is decoded."""

            def __init__(self) -> None:
                self.device = codec.device
                self.encoder = codec.encoder  # type: ignore[method-assign]

            def decoder(self):  # type: ignore[no-untyped-def]
                stream = codec.decoder()
                push = stream.push
                stream.push = lambda latents: (caught.append(latents), push(latents))[1]  # type: ignore[method-assign]
                return stream

        engine = DktEngine(
            dkt_card("windowed", "reference"), Catching(), folded(5, exact), steps=5, size=SIZE,
            reference_quantisation=True,
        )  # fmt: skip
        found = disparity(engine.predict_video(iter(as_frames(PUBLISHED["land.frames"])), 30, 17, 5))
        latents = torch.cat(caught, 2).numpy() - PUBLISHED["land.bf16_final_latents"]
        return rms(latents), rms(found - PUBLISHED["land.bf16_depth_map"])

    latents, depth = errors(exact=False)
    assert latents <= 0.02 and depth <= 0.005
    assert errors(exact=True)[0] > 0.05


def rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.square(values).mean()))


# --- whole recordings -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 4, 5, 17, 30])
def test_every_frame_of_a_recording_is_answered_once_in_order(
    codec: WanCodec, depth: FoldedTransformer, count: int
) -> None:
    frames = recording(count)
    answers = list(windowed(codec, depth).predict_video(iter(frames), count, 9, 5))
    assert [frame for clip, _ in answers for frame in clip.frames] == frames
    assert [clip.starts for clip, _ in answers] == [True] + [False] * (len(answers) - 1)
    assert [prediction.same_units for _, prediction in answers] == [False] + [True] * (len(answers) - 1)
    for clip, prediction in answers:
        assert prediction.disparity.shape == (len(clip.frames), 32, 48) and prediction.kind == "affine"
        assert clip.overlap == clip.padding == 0


def test_a_recording_is_read_lazily_and_answered_before_its_end(codec: WanCodec, depth: FoldedTransformer) -> None:
    read = answered = most = 0

    def source() -> Iterator[Frame]:
        nonlocal read
        for frame in recording(101):
            read += 1
            yield frame

    for clip, _ in windowed(codec, depth).predict_video(source(), 101, 9, 1):
        most = max(most, read - answered)
        answered += len(clip.frames)
    # Two steps with windows of 3 latent frames that advance by 2: 3 + 2 * 2 latent frames, and one stretch more.
    assert answered == 101 and most <= 4 * 9


def test_a_recording_that_fits_one_window_equals_the_clip(engine: DktEngine, codec: WanCodec) -> None:
    frames = recording(9)
    alone = engine.predict(Clip(tuple(frames)))
    whole = disparity(engine.predict_video(iter(frames), 9, 21, 1))
    np.testing.assert_allclose(whole, alone.disparity, rtol=0, atol=1e-6)


def test_single_takes_the_recording_as_one_window(codec: WanCodec, depth: FoldedTransformer) -> None:
    frames = recording(25)
    single = DktEngine(dkt_card("single", "low_latency"), codec, depth, steps=2, size=SIZE, single=True)
    whole = disparity(single.predict_video(iter(frames), 25, 5, 1))
    np.testing.assert_array_equal(whole, disparity(windowed(codec, depth).predict_video(iter(frames), 25, 81, 9)))
    assert np.abs(whole - disparity(windowed(codec, depth).predict_video(iter(frames), 25, 5, 1))).max() > 1e-3


@pytest.mark.parametrize(("told", "message"), [(12, "count = 12, but only 11"), (10, "count = 10, but frame 11 came")])
def test_a_wrong_count_is_told_with_both_numbers(
    codec: WanCodec, depth: FoldedTransformer, told: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        list(windowed(codec, depth).predict_video(iter(recording(11)), told, 9, 5))


@pytest.mark.parametrize(
    ("clip_length", "overlap", "message"),
    [
        (9, 9, "overlap 9: must be below the window of 9 frames; give at most 5"),
        (9, 13, "overlap 13: must be below the window"),
        (9, 3, r"overlap 3: must be 0 or 4m\+1"),
        (8, 1, r"window of 8 frames: must be 4n\+1"),
    ],
)
def test_windows_that_cannot_be_are_refused_at_once(
    engine: DktEngine, clip_length: int, overlap: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        engine.predict_video(iter(()), 30, clip_length, overlap)


def test_no_frames_are_refused(engine: DktEngine) -> None:
    with pytest.raises(ValueError, match="count = 0"):
        engine.predict_video(iter(()), 0, 9, 1)


def test_an_overlap_over_half_the_window_works(codec: WanCodec, depth: FoldedTransformer) -> None:
    assert np.isfinite(disparity(windowed(codec, depth).predict_video(iter(recording(21)), 21, 13, 9))).all()


def test_a_change_of_size_within_a_recording_is_refused(codec: WanCodec, depth: FoldedTransformer) -> None:
    frames = recording(6) + recording(3, 64, 40)
    with pytest.raises(ValueError, match="frame 7 is 64x40, those before it 48x32"):
        list(windowed(codec, depth).predict_video(iter(frames), 9, 9, 1))


# --- clips of a stream ------------------------------------------------------------------------------------------------


def stream(frames: Sequence[Frame], length: int, overlap: int) -> Iterator[Clip]:
    buffer = ClipBuffer(length, overlap, capacity=length)
    for frame in frames:
        buffer.push(frame)
        while clip := buffer.take():
            yield clip
    while clip := buffer.flush():
        yield clip


def test_a_first_clip_is_what_the_published_pipeline_gives_a_video_of_its_length(codec: WanCodec) -> None:
    engine = DktEngine(
        dkt_card("streaming", "reference"), codec, folded(1), steps=1, size=SIZE, reference_quantisation=True
    )
    found = engine.predict(Clip(tuple(as_frames(PUBLISHED["one.frames"]))))
    np.testing.assert_allclose(found.disparity, PUBLISHED["one.depth_map"], rtol=0, atol=1.5 / 765)


def test_frames_are_encoded_once_however_clips_overlap(engine: DktEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    encoded: list[int] = []
    to_video = engine._to_video
    monkeypatch.setattr(engine, "_to_video", lambda frames: (encoded.append(len(frames)), to_video(frames))[1])
    for clip in stream(recording(33), 13, 5):
        prediction = engine.predict(clip)
        assert prediction.disparity.shape == (len(clip.frames), 32, 48) and not prediction.same_units
    assert sum(encoded) == 33


def test_the_noise_of_shared_frames_stays_and_new_frames_get_new_noise(engine: DktEngine) -> None:
    seen: list[Tensor] = []
    transformer = engine._transformers[0]

    class Seeing:
        def __call__(self, latents: Tensor, step: int) -> Tensor:
            seen.append(latents[:, :16])
            return transformer(latents, step)

        def to(self, device: torch.device) -> None: ...

    engine._transformers = [Seeing()]
    for clip in stream(recording(21), 13, 5):
        engine.predict(clip)
    first, second = seen[0], seen[2]
    assert torch.equal(first[:, :, -2:], second[:, :, :2])
    assert not torch.isclose(first[:, :, :2], second[:, :, 2:]).any(dim=1).all()


def test_a_stream_gives_the_same_answers_again_after_a_start(engine: DktEngine) -> None:
    clips = list(stream(recording(21), 13, 5))
    once, again = ([engine.predict(clip).disparity for clip in clips] for _ in range(2))
    for before, after in zip(once, again, strict=True):
        np.testing.assert_array_equal(before, after)


def test_a_clip_that_failed_leaves_an_engine_that_goes_on(engine: DktEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, third = list(stream(recording(29), 13, 5))[:3]
    engine.predict(first)
    with monkeypatch.context() as patched:
        patched.setattr(engine, "_prediction", lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError("full")))
        with pytest.raises(torch.OutOfMemoryError):
            engine.predict(second)
    start = Clip(second.frames)
    fresh = DktEngine(engine.card, engine._codec, engine._transformers[0], steps=2, size=SIZE)
    np.testing.assert_array_equal(engine.predict(start).disparity, fresh.predict(start).disparity)
    np.testing.assert_array_equal(engine.predict(third).disparity, fresh.predict(third).disparity)


def test_a_clip_after_a_failed_one_is_a_start_even_if_it_does_not_say_so(engine: DktEngine) -> None:
    first, second, third = list(stream(recording(29), 13, 5))[:3]
    transformer = engine._transformers[0]

    class Failing:
        def __call__(self, latents: Tensor, step: int) -> Tensor:
            raise torch.OutOfMemoryError("full")

        def to(self, device: torch.device) -> None: ...

    engine.predict(first)
    engine._transformers = [Failing()]
    with pytest.raises(torch.OutOfMemoryError):
        engine.predict(second)
    engine._transformers = [transformer]
    fresh = DktEngine(engine.card, engine._codec, transformer, steps=2, size=SIZE)
    np.testing.assert_array_equal(engine.predict(third).disparity, fresh.predict(Clip(third.frames)).disparity)


@pytest.mark.parametrize("count", [2, 3, 4, 6, 85])
def test_clips_of_other_lengths_are_refused(engine: DktEngine, count: int) -> None:
    with pytest.raises(ValueError, match=f"a clip of {count} frames; it takes .*repeat the last frame"):
        engine.predict(Clip(tuple(recording(count))))


@pytest.mark.parametrize("count", [1, 2, 4, 5, 22])
def test_any_number_of_frames_works_through_the_whole_path(engine: DktEngine, count: int) -> None:
    settings = PerceptionSettings(clip_length=engine.card.clip_length, overlap=engine.card.overlap)
    estimates = list(Perception(engine, settings).run(recording(count)))
    assert len(estimates) == count
    assert all(np.isfinite(estimate.disparity).all() for estimate in estimates)


@pytest.mark.parametrize("size", [(32, 48), (31, 57), (7, 5), (1, 1), (200, 30)])
def test_portraits_and_odd_sizes_come_back_upright(engine: DktEngine, size: tuple[int, int]) -> None:
    frames = recording(5, *size)
    prediction = engine.predict(Clip(tuple(frames)))
    assert prediction.disparity.shape == ((5, 48, 32) if size[0] < size[1] else (5, 32, 48))


def test_a_portrait_is_the_turned_landscape(engine: DktEngine) -> None:
    wide = recording(5)
    high = [Frame(frame.stamp_ns, "camera", np.rot90(frame.rgb, k=-1)) for frame in wide]
    found = engine.predict(Clip(tuple(high))).disparity
    np.testing.assert_array_equal(np.rot90(found, axes=(1, 2)), engine.predict(Clip(tuple(wide))).disparity)


def test_frames_of_different_sizes_in_a_clip_are_refused(engine: DktEngine) -> None:
    small, large = recording(5), recording(8, 64, 40)
    engine.predict(Clip(tuple(small)))
    with pytest.raises(ValueError, match=r"different sizes \[\(48, 32\), \(64, 40\)\] in one clip"):
        engine.predict(Clip((*small, *large), overlap=5))


@pytest.mark.parametrize("size", [(832, 472), (840, 480), (0, 480), (8, 8)])
def test_a_working_size_off_the_grid_is_refused(engine: DktEngine, size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=f"working size {size[0]}x{size[1]}: both sides must be multiples of 16"):
        DktEngine(engine.card, engine._codec, engine._transformers[0], steps=2, size=size)


def test_a_constant_prediction_goes_through_the_whole_path(engine: DktEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    decode = WanCodec.finish_video
    monkeypatch.setattr(WanCodec, "finish_video", lambda codec, decoded: decode(codec, decoded) * 0 + 0.25)
    with np.errstate(all="raise"):
        estimates = list(Perception(engine, PerceptionSettings(clip_length=13, overlap=5)).run(recording(30)))
    assert len(estimates) == 30
    for estimate in estimates:
        np.testing.assert_allclose(estimate.disparity, 0.625, atol=1e-6)


# --- normals ----------------------------------------------------------------------------------------------------------


def test_normals_come_with_the_disparity_from_one_encoding(
    codec: WanCodec, depth: FoldedTransformer, normals: FoldedTransformer, engine: DktEngine
) -> None:
    both = DktEngine(dkt_card("streaming", "low_latency", True), codec, depth, normals, steps=2, size=SIZE)
    only = DktEngine(dkt_card("streaming", "low_latency"), codec, normals, steps=2, size=SIZE)
    for clip in stream(recording(21), 13, 5):
        prediction = both.predict(clip)
        assert prediction.normals is not None and prediction.normals.shape == (13, 32, 48, 3)
        np.testing.assert_allclose(np.linalg.norm(prediction.normals, axis=-1), 1, atol=1e-5)
        np.testing.assert_allclose(prediction.disparity, engine.predict(clip).disparity, rtol=0, atol=1e-5)
        if clip.starts:
            control = codec.encode(only._to_video(clip.frames))
            noise = flow.StartNoise(16, 4, 4, 6).take(4)
            (denoise,) = only._denoisers([(0, 4)], 0)
            video = codec.decode(next(denoise(iter([(noise, control)])))[0])[0]
            np.testing.assert_allclose(
                prediction.normals, to_normals(video, Axes.parse("+x+y+z"), portrait=False), rtol=0, atol=1e-4
            )


def test_normals_of_a_recording_equal_those_of_a_clip(
    codec: WanCodec, depth: FoldedTransformer, normals: FoldedTransformer
) -> None:
    engine = DktEngine(
        dkt_card("windowed", "low_latency", True), codec, depth, normals, steps=2, size=SIZE, axes=Axes.parse("+y-x+z")
    )
    frames = recording(9, 32, 48)
    ((_, whole),) = engine.predict_video(iter(frames), 9, 21, 1)
    alone = engine.predict(Clip(tuple(frames)))
    assert whole.normals is not None and alone.normals is not None
    assert whole.normals.shape == (9, 48, 32, 3)
    np.testing.assert_allclose(whole.normals, alone.normals, rtol=0, atol=1e-4)


# --- less memory ------------------------------------------------------------------------------------------------------


def test_an_engine_that_is_made_smaller_says_so_and_ends_at_a_floor(engine: DktEngine, codec: WanCodec) -> None:
    large = DktEngine(engine.card, codec, engine._transformers[0], steps=2)
    words = []
    while said := large.smaller():
        words.append(said)
    assert words[0] == "works at 624x352 instead of 832x480"
    assert large.size == (464, 256)
    assert engine.smaller() is None


def test_transformers_that_only_visit_the_gpu_are_never_there_with_each_other_or_the_codec(
    engine: DktEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = {"depth": "cpu", "normals": "cpu"}
    seen: list[tuple[str, dict[str, str]]] = []

    class Traveller:
        def __init__(self, name: str) -> None:
            self.name = name

        def __call__(self, latents: Tensor, step: int) -> Tensor:
            seen.append((self.name, places.copy()))
            return latents[:, :16]

        def to(self, device: torch.device) -> None:
            places[self.name] = device.type

    def watched(name: str, method: str) -> None:
        real = getattr(WanCodec, method)

        def watching(*arguments: object) -> object:
            seen.append((name, places.copy()))
            return real(*arguments)

        monkeypatch.setattr(WanCodec, method, watching)

    watched("codec", "prepare_video")
    watched("codec", "prepare_latents")
    engine._transformers = [Traveller("depth"), Traveller("normals")]
    # "meta" stands for the GPU: what is asked of the travellers is only where to be.
    engine._gpu = torch.device("meta")
    assert engine.smaller() == "waits in CPU memory while the codec works"
    assert engine.smaller() is None
    engine.predict(Clip(tuple(recording(5))))
    list(engine.predict_video(iter(recording(13)), 13, 5, 1))
    for name, then in seen:
        assert then == {each: "meta" if each == name else "cpu" for each in places}
    assert {name for name, _ in seen} == {"depth", "normals", "codec"}


# --- files ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return dkt_folder(tmp_path / "weights")


def with_normals(folder: Path) -> Path:
    inside = folder / "normal"
    inside.mkdir()
    (inside / "lora.safetensors").write_bytes((DKT / "dit_tiny_lora.safetensors").read_bytes())
    save_prompt(inside / "prompt.safetensors", "normal", torch.randn(3, 32))
    return folder


def options(folder: Path, **others: object) -> EngineOptions:
    return EngineOptions(folder, device="cpu", **others)  # type: ignore[arg-type]


def test_a_folder_in_the_published_layout_is_the_engine_made_of_its_parts(folder: Path, codec: WanCodec) -> None:
    loaded = load_engine("dkt", options(folder))
    assert isinstance(loaded, DktEngine) and loaded.size == (832, 480)
    loaded._work_at(SIZE)
    lora = DKT / "dit_tiny_lora.safetensors"
    parts = DktEngine(loaded.card, codec, folded(5, loras=[lora]), steps=5, size=SIZE)
    clip = Clip(tuple(recording(5)))
    np.testing.assert_allclose(loaded.predict(clip).disparity, parts.predict(clip).disparity, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("profile", "window"), [(None, (81, 9)), ("reference", (81, 9)), ("low_latency", (21, 1))])
def test_profiles_are_windows_of_21_and_of_6_latent_frames(
    folder: Path, profile: str | None, window: tuple[int, int]
) -> None:
    card = load(options(folder, profile=profile)).card
    assert (card.clip_length, card.overlap) == window and card.clip_length in card.clip_lengths
    assert card.whole_groups and not card.whole_video and not card.gives_normals


@pytest.mark.parametrize("mode", ["windowed", "single"])
def test_the_published_ways_want_whole_recordings(folder: Path, mode: str) -> None:
    engine = load(options(folder, mode=mode, steps=1))
    engine._work_at(SIZE)
    assert engine.card.whole_video
    assert len(list(Perception(engine).run_recording(lambda: recording(6)))) == 6


def test_a_folder_with_normals_gives_normals_along_the_chosen_axes(folder: Path) -> None:
    clip, found = Clip(tuple(recording(5))), []
    for axes in (None, "+y-z+x"):
        engine = load(options(with_normals(folder) if axes is None else folder, steps=1, normals_axes=axes))
        engine._work_at(SIZE)
        assert engine.card.gives_normals
        found.append(engine.predict(clip).normals)
    x, y, z = np.moveaxis(found[0], -1, 0)
    np.testing.assert_allclose(found[1], np.stack([y, -z, x], -1), atol=1e-6)


def test_bfloat16_is_near_float32(folder: Path) -> None:
    clip, found = Clip(tuple(recording(5))), []
    for precision in ("float32", "bfloat16"):
        engine = load(options(folder, precision=precision))
        engine._work_at(SIZE)
        found.append(engine.predict(clip).disparity)
    assert 0 < rms(found[1] - found[0]) <= 0.005


def test_a_small_codec_decodes_and_the_full_one_encodes(folder: Path) -> None:
    model = TinyAutoencoder(TinySizes(16, 8, (12, 8, 6, 6), (2, 2, 1), (1, 2, 2)))
    save_file({name: tensor.half() for name, tensor in model.state_dict().items()}, folder / "taew2_1.safetensors")
    clip, seen, answers = Clip(tuple(recording(5))), [], []
    for vae in ("full", "tiny"):
        engine = load(options(folder, vae=vae, steps=1))
        engine._work_at(SIZE)
        encoder = engine._codec.encoder()
        seen.append(encoder.push(engine._to_video(clip.frames)))
        answers.append(engine.predict(clip).disparity)
    assert torch.equal(seen[0], seen[1])
    assert answers[1].shape == (5, 32, 48) and np.abs(answers[1] - answers[0]).max() > 1e-3


def test_a_folder_without_a_prompt_embedding_says_how_to_make_one(folder: Path) -> None:
    (folder / "prompt.safetensors").unlink()
    with pytest.raises(CheckpointError, match="dkt models embed-prompt"):
        load(options(folder))


def test_normals_alone_are_refused_with_what_is_missing(folder: Path) -> None:
    (folder / "dit_tiny_lora.safetensors").rename(folder / "DKT_normal_lora.safetensors")
    with pytest.raises(CheckpointError, match=r"LoRA for normals, and there is none for depth"):
        load(options(folder))
    (folder / "DKT_normal_lora.safetensors").unlink()
    with pytest.raises(CheckpointError, match="lacks the lora"):
        load(options(with_normals(folder)))


def test_a_prompt_for_the_other_thing_is_refused(folder: Path) -> None:
    save_prompt(with_normals(folder) / "normal" / "prompt.safetensors", "depth", torch.randn(3, 32))
    with pytest.raises(CheckpointError, match=r"embedding of 'depth', and 'normal' is needed.*--text normal"):
        load(options(folder))


def test_weights_must_be_given() -> None:
    with pytest.raises(ValueError, match=r"needs weights.*dkt models fetch"):
        load(EngineOptions())


@pytest.mark.parametrize(
    ("name", "value"),
    [("profile", "fast"), ("mode", "online"), ("vae", "large"), ("stitching", "demo"), ("normals_axes", "xyz"),
     ("steps", 0), ("device", "tpu"), ("precision", "int8")],
)  # fmt: skip
def test_choices_that_it_does_not_have_are_refused(folder: Path, name: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"{name}.* {value}|{name}.*{value!r}"):
        load(EngineOptions(**{"weights": folder, name: value}))  # type: ignore[arg-type]

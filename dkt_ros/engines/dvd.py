"""DVD (arXiv 2603.12250): relative disparity of a video in one pass of a Wan transformer.

The latent of the pictures goes into the transformer alone, at a fixed time, and what comes out is the latent of the
disparity: no noise, no text, no scheduler. Versions 1.0 and 1.1 differ in nothing but the values of their weights.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice, pairwise

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from dkt_ros.engines import Engine, EngineCard, EngineOptions
from dkt_ros.engines.devices import chosen
from dkt_ros.engines.dvd_network import DvdNetwork, Network
from dkt_ros.engines.dvd_parts import ADAPTERS, find_dvd
from dkt_ros.engines.dvd_windows import TARGET, Joiner, Rule, padded, rule_named, windows, working_size
from dkt_ros.engines.threads import use_threads
from dkt_ros.engines.wan_completion import (
    LIMIT,
    SinglePass,
    WanCompletionEngine,
    Working,
    completion_card,
    read_trained,
)
from dkt_ros.engines.wan_options import fold, make_codec, mode_and_profile, refuse_small_codec, tiny_roles
from dkt_ros.engines.weights import load_dvd_parts
from dkt_ros.frames import Clip, Float32, Frame, Prediction

#: Frames of a window, and those that it shares with the next.
PROFILES = {"reference": (45, 9), "low_latency": (21, 5)}
#: (height, width) below which memory is not saved by working on smaller pictures.
_SMALLEST = (240, 320)
#: Frames that are resized at once.
_AT_ONCE = 8


class DvdEngine:
    """An ``Engine`` and a ``VideoEngine`` around a ``Network``.

    Pictures are worked on at the published size: both sides grow or shrink by one ratio until they cover ``target``,
    then go up to multiples of 16. Disparity is the mean of the three decoded channels.

    In mode "streaming" ``predict`` keeps the codec's state from clip to clip, so that no frame is encoded twice. Then
    the latents of a running stream are not those of a fresh window: they know the frames before, and the first stands
    for four frames, whereas a window's first latent stands for its first frame alone. The published weights were
    trained on fresh windows, so this mode's numbers are not the reference's; how close they come is unmeasured on the
    published weights. In the other modes every clip is encoded by itself.

    Not for two threads at once: a lock makes the second wait.

    Args:
        network: see ``Network``.
        card: what callers are told.
        mode: one of ``choices.MODES``; "windowed" and "single" are what ``predict_video`` does.
        rule: how ``predict_video`` cuts and joins windows.
        target: (height, width) that the working pictures cover.
        device: where frames are uploaded to and resized.
    """

    def __init__(
        self,
        network: Network,
        card: EngineCard,
        mode: str,
        rule: Rule,
        target: tuple[int, int] = TARGET,
        device: torch.device | str = "cpu",
    ) -> None:
        self.card = card
        self.device = str(device)
        self._network = network
        self._mode = mode
        self._rule = rule
        self._target = target
        self._lock = threading.Lock()

    def predict(self, clip: Clip, trust: Float32 | None = None) -> Prediction:
        """See ``Engine.predict``.

        Raises:
            ValueError: the number of frames is not 4n+1, or they are of different sizes.
        """
        if len(clip.frames) % 4 != 1:
            raise ValueError(
                f"engine {self.card.name}: a clip of {len(clip.frames)} frames; must be 4n+1, repeat the last frame "
                f"up to {padded(len(clip.frames))}"
            )
        with self._lock, torch.inference_mode():
            if self._mode == "streaming":
                video = self._network.following(clip, self._video)
            else:
                video = self._network.alone(self._video(clip.frames))
            return Prediction(video[0].mean(dim=0).cpu().numpy())

    def predict_video(
        self, frames: Iterable[Frame], count: int, clip_length: int, overlap: int
    ) -> Iterator[tuple[Clip, Prediction]]:
        """See ``VideoEngine.predict_video``; in mode "single" the recording is one window of whatever length,
        in memory that grows with it.

        Frames leave as soon as no later window can change them, in clips of any length and without padding. Units
        are the same throughout, except after a window that could not be aligned (no overlap, a flat picture): its
        ``same_units`` is False.
        """
        found = windows(count, clip_length, overlap, self._rule.snaps)
        return self._joined(iter(frames), [(0, count)] if self._mode == "single" else found)

    def _joined(self, frames: Iterator[Frame], found: list[tuple[int, int]]) -> Iterator[tuple[Clip, Prediction]]:
        joiner, held, count = Joiner(self._rule), list[Frame](), found[-1][1]
        size: tuple[int, int] | None = None
        for (start, end), (after, _) in pairwise([*found, (count, count)]):
            held += islice(frames, end - start - len(held))
            if len(held) < end - start or (end == count and next(frames, None) is not None):
                more = "more" if len(held) == end - start else str(start + len(held))
                raise ValueError(
                    f"engine {self.card.name}: told of {count} frames, got {more}; count the recording's frames first"
                )
            size = size or held[0].size
            _check_sizes(held, size)
            joined = joiner.join(self._window(held), end - after)
            done, held = held[: after - start], held[after - start :]
            disparity = joined.frames.mean(axis=-1, dtype=np.float32)
            yield Clip(tuple(done), follows=start > 0), Prediction(disparity, same_units=joined.aligned)

    def _window(self, frames: list[Frame]) -> Float32:
        """(n, h, w, 3) float32 disparity in [0, 1] of a window encoded by itself."""
        filled = frames + frames[-1:] * (padded(len(frames)) - len(frames))
        with self._lock, torch.inference_mode():
            video = self._network.alone(self._video(filled))
            return video[0, :, : len(frames)].permute(1, 2, 3, 0).cpu().numpy()

    def _video(self, frames: Sequence[Frame]) -> Tensor:
        """(1, 3, n, h, w) float32 in [-1, 1] on the device, at the working size."""
        _check_sizes(frames, frames[0].size)
        width, height = frames[0].size
        size = working_size(height, width, self._target)
        return to_dvd_video(frames, (size[1], size[0]), self.device)

    def smaller(self) -> str | None:
        """Need less GPU memory from the next start on.

        First pictures shrink, three quarters of each side at a time and not below 320x240; then the transformer is kept
        in CPU memory between passes.

        Returns:
            What was given up, in words; None if nothing is left.
        """
        before = self._target
        after = (max(before[0] * 3 // 4, _SMALLEST[0]), max(before[1] * 3 // 4, _SMALLEST[1]))
        with self._lock:
            if after[0] >= before[0] or after[1] >= before[1]:
                return "keeps the transformer in CPU memory between passes" if self._network.make_room() else None
            self._target = after
        return f"works on pictures that cover {after[1]}x{after[0]} instead of {before[1]}x{before[0]}"


def to_dvd_video(frames: Sequence[Frame], size: tuple[int, int], device: torch.device | str = "cpu") -> Tensor:
    """Frames of one size -> (1, 3, n, height, width) float32 in [-1, 1] at another (width, height), as published."""
    # A few at once: as floats at its own size a long clip of large pictures would fill a GPU.
    return torch.cat([_piece(frames[i : i + _AT_ONCE], size, device) for i in range(0, len(frames), _AT_ONCE)], dim=2)


def _piece(frames: Sequence[Frame], size: tuple[int, int], device: torch.device | str) -> Tensor:
    # A picture may be a mirrored or otherwise strided view, which torch does not take.
    pixels = np.ascontiguousarray(np.stack([frame.rgb for frame in frames]))
    pictures = torch.from_numpy(pixels).to(device).permute(0, 3, 1, 2).float() / 255
    return (resized(pictures, size[::-1]) * 2 - 1).permute(1, 0, 2, 3).unsqueeze(0).contiguous()


def covering(frame: tuple[int, int], size: tuple[int, int]) -> tuple[tuple[int, int], bool]:
    """The (width, height) on DVD's grid at which pictures of (width, height) ``frame`` cover ``size``; never turned."""
    height, width = working_size(frame[1], frame[0], (size[1], size[0]))
    return (width, height), False


#: How completion by DVD takes pictures: as DVD.
WORKING = Working(covering, to_dvd_video)


def resized(pictures: Tensor, size: tuple[int, int]) -> Tensor:
    """(n, 3, h, w) at another (height, width): bilinear, without antialiasing, as published."""
    if pictures.shape[2:] == size:
        return pictures
    return functional.interpolate(pictures, size, mode="bilinear", align_corners=False, antialias=False)


def _check_sizes(frames: Sequence[Frame], size: tuple[int, int]) -> None:
    for frame in frames:
        if frame.size != size:
            raise ValueError(
                f"engine dvd: frames of different sizes {sorted({size, frame.size})}; resize them or start a new clip"
            )


def load(options: EngineOptions) -> Engine:
    """Load DVD from its file, or the folder that holds it: ``model.safetensors`` (1.0) or ``dvd_1.1.safetensors``.

    The codec is in the same file; a file that lacks it needs the published one beside it. ``vae`` may ask for a
    small one from the same folder. ``model_config.yaml`` beside the file says at what time the transformer is asked.

    Adapters of our own training may lie in the folder, or come after it (see ``EngineOptions.weights``): they take the
    place of the published ones, and the base may then be plain Wan. With those for completion the engine reads sensor
    depth.

    Raises:
        ValueError: an option that this engine does not have, or that it refuses.
        FileNotFoundError, CheckpointError: the weights are missing, damaged, another model's, or not the only ones.
    """
    options.refuse("dvd", "normals_axes")
    if options.steps not in (None, 1):
        raise ValueError(f"steps = {options.steps}: dvd answers in one pass; leave it out")
    mode, profile = mode_and_profile("dvd", options, PROFILES)
    rule = rule_named(options.stitching or "demo")
    if options.weights is None:
        raise ValueError(
            "engine 'dvd' needs weights: give its file or folder; 'dkt models fetch dvd-1.1 --out DIR' gets them"
        )
    use_threads(options.threads)
    device, dtype = chosen(options)
    parts = find_dvd(options.weights, *tiny_roles(options))
    lora = next((parts[role] for role in ADAPTERS if role in parts), None)
    completes, trained = "dvd completion" in parts, read_trained(lora) if lora else None
    if completes and (mode != "streaming" or options.stitching):
        raise ValueError(f"{lora} completes sensor depth clip by clip; leave mode and stitching out")
    if completes and lora:
        refuse_small_codec(options, lora)
    dvd = load_dvd_parts(parts, dtype, device, lora)
    codec = make_codec(dvd.codec, parts.get("tiny codec"), options, device, dtype, LIMIT if completes else 1.0)
    transformer = fold(dvd.transformer, [1000 * dvd.denoise_step], None, False, options)
    size = trained.size if trained and trained.size else TARGET[::-1]
    if completes and trained:
        return WanCompletionEngine(completion_card("dvd", trained), codec, SinglePass(transformer), WORKING, size)
    card = dvd_card(mode, profile)
    if trained:
        card = replace(card, licence=trained.licence, description=trained.description)
    return DvdEngine(DvdNetwork(codec, transformer), card, mode, rule, size[::-1], device)


def dvd_card(mode: str, profile: str) -> EngineCard:
    """What callers are told about DVD in ``mode`` and ``profile``."""
    length, overlap = PROFILES[profile]
    return EngineCard(
        name="dvd",
        kind="affine",
        # A recording that is one window has no length to choose.
        clip_lengths=(length,) if mode == "single" else tuple(range(1, 82, 4)),
        reads_sensor_depth=False,
        gives_normals=False,
        licence="CC-BY-NC-4.0",
        description=(
            "Relative disparity of any video: Wan 2.1 (1.3B), tuned by its authors on clips of 45 frames of rendered "
            "rooms, flights and roads. It was not trained for transparent things and may see through them; version 1.1 "
            "is said to be steadier on reflections. Users report weak people and hair. It knows no metres and gives no "
            "normals, so it needs sensor depth or another anchor. Its weights are for non-commercial use only. This "
            "engine agrees with the published code on tiny random weights; nobody has run it on the published ones yet."
        ),
        clip_length=length,
        overlap=overlap,
        whole_groups=mode == "streaming",
        whole_video=mode != "streaming",
    )

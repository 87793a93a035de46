"""The completion engine: RGB clip and partial, partly wrong sensor depth in; dense disparity and normals out."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from dkt_ros.engines import EngineCard, EngineOptions
from dkt_ros.engines.checkpoints import CheckpointError, fill_module, load_weights
from dkt_ros.engines.completion_model import CompletionModel, Condition
from dkt_ros.engines.conditioning import DisparityRange, check_clip, fill_partial, held_range, partial_at
from dkt_ros.engines.devices import chosen
from dkt_ros.engines.parts import find_parts
from dkt_ros.engines.threads import use_threads
from dkt_ros.engines.wan import WanSizes, working_size
from dkt_ros.frames import Clip, Float32, Frame, Prediction

#: What a checkpoint is taken for where its header does not say otherwise: what the bundled recipe trains.
CLIP_LENGTHS, AREA, TOGETHER = (1, 5, 9, 13), 160 * 96, False


def load(options: EngineOptions) -> CompletionEngine:
    """An engine around a checkpoint of our own training (``dkt train``).

    Its header holds the network's sizes, and may hold ``clip_lengths``, ``area`` (pixels of a working picture),
    ``together``, ``licence`` and ``description``.

    Args:
        options: ``weights`` is the file, or a folder with one such file; ``device`` and ``threads`` are honoured.
            float32 always.

    Raises:
        ValueError: no weights given, or an option that this engine does not have.
        FileNotFoundError, CheckpointError: see ``find_parts`` and ``load_completion_model``.
    """
    options.refuse(
        "completion",
        *("profile", "steps", "mode", "precision", "vae", "compiled", "stitching", "normals_axes"),
    )
    if options.weights is None:
        raise ValueError("engine completion: no weights; give the file that training wrote (--weights FILE)")
    use_threads(options.threads)
    path = find_parts(options.weights, "completion")["completion"][0]
    model, config = _load_described(path)
    device, _ = chosen(options)
    try:
        lengths = tuple(sorted(int(length) for length in config.get("clip_lengths", CLIP_LENGTHS)))
        area, together = int(config.get("area", AREA)), bool(config.get("together", TOGETHER))
        if area < 1 or not lengths or lengths[0] < 1:
            raise ValueError(f"clips of {lengths} frames, {area} pixels")
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: its header is damaged ({error}); give the file that training wrote") from error
    return CompletionEngine(model.to(device), _card(path, config, lengths), area, together)


def _card(path: Path, config: dict[str, Any], lengths: tuple[int, ...]) -> EngineCard:
    steps, sequences = config.get("steps", "an unknown number of"), config.get("sequences", "an unknown number of")
    description = f"{path.name}, trained for {steps} steps on {sequences} sequences. Nothing is known of its quality."
    return completion_card(lengths, str(config.get("licence", "unknown")), str(config.get("description", description)))


def completion_card(lengths: tuple[int, ...], licence: str, description: str) -> EngineCard:
    """The card of a ``CompletionEngine`` that takes clips of these lengths (ascending)."""
    return EngineCard(
        name="completion",
        kind="affine",
        clip_lengths=lengths,
        reads_sensor_depth=True,
        gives_normals=True,
        licence=licence,
        description=description,
        clip_length=9 if 9 in lengths else lengths[-1],
        overlap=5 if 9 in lengths else max(0, (lengths[-1] - 1) // 2),
    )


def load_completion_model(path: Path | str) -> CompletionModel:
    """Build the network that ``path`` describes and fill it with its weights (float32, evaluation mode).

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: not a safetensors checkpoint of a completion network.
    """
    return _load_described(path)[0]


def _load_described(path: Path | str) -> tuple[CompletionModel, dict[str, Any]]:
    tensors, config = load_weights(path)
    try:
        sizes = WanSizes(**config["sizes"])
    except (KeyError, TypeError) as error:
        raise CheckpointError(f"{path}: its header describes no completion network ({error})") from error
    model = CompletionModel(sizes)
    fill_module(model, tensors, path)
    return model.eval().requires_grad_(False), config


class CompletionEngine:
    """An ``Engine`` around a ``CompletionModel``.

    Works at about ``area`` pixels, aspect kept, sides multiples of 8. Disparity is in units of the clip's own trusted
    range, which is held from one clip to the next as long as the new one fits in it, so that a sequence of clips stays
    in one unit. Without trusted depth the units are the network's own. Not for two threads at once: a lock makes the
    second wait.

    ``together`` says whether the network looks at the clip as a video; False gives it frame by frame, for weights that
    were trained on single frames. Then the frames that a clip shares with the previous one keep their answers.
    """

    def __init__(self, model: CompletionModel, card: EngineCard, area: int, together: bool = True) -> None:
        self.card = card
        self._model = model
        self._area = area
        self._together = together
        self._limits: DisparityRange | None = None
        self._answers: dict[int, tuple[Float32, Float32]] = {}
        self._frames: tuple[Frame, ...] = ()
        self._lock = threading.Lock()

    def predict(self, clip: Clip, trust: Float32 | None = None) -> Prediction:
        """See ``Engine.predict``.

        Raises:
            ValueError: a clip length that the card does not list, frames of different sizes, or trust of another shape.
        """
        check_clip(self.card, clip, trust)
        size = working_size(*clip.frames[0].size, self._area)
        with self._lock, torch.inference_mode():
            foreign = clip.overlap > 0 and not any(frame is clip.frames[0] for frame in self._frames)
            if clip.starts or foreign:
                self._limits, self._answers = None, {}
            self._frames = clip.frames
            sensed, believed = partial_at([frame.sensor_depth for frame in clip.frames], trust, size)
            before, self._limits = self._limits, held_range(self._limits, sensed, believed)
            filled, believed = fill_partial(sensed, believed, self._limits)
            if self._limits is not before:
                self._answers = {}
            rgb = _rgb_at(clip, size)
            if self._together:
                disparity, normals = self._answer(rgb, filled, believed)
            else:
                disparity, normals = self._frame_by_frame(rgb, filled, believed)
        return Prediction(disparity, normals, "affine", same_units=before is not None and self._limits is before)

    def _answer(self, rgb: Float32, filled: Float32, trust: Float32) -> tuple[Float32, Float32]:
        """(T, h, w) disparity and (T, h, w, 3) normals."""
        given = condition(rgb, filled, trust, self._together)
        device = next(self._model.parameters()).device
        answer = self._model(Condition(*(part.to(device) for part in (given.rgb, given.filled, given.trust))))
        normals = answer.normals.permute(0, 2, 3, 4, 1).reshape(*filled.shape, 3).contiguous()
        return answer.disparity.reshape(filled.shape).cpu().numpy(), normals.cpu().numpy()

    def _frame_by_frame(self, rgb: Float32, filled: Float32, trust: Float32) -> tuple[Float32, Float32]:
        """``_answer`` of the frames that are new; the others (overlap, padding) have theirs already."""
        own = [id(frame) for frame in self._frames]  # they live as long as their answers
        new = [i for i, name in enumerate(own) if name not in self._answers and name not in own[:i]]
        if new:
            answers = self._answer(rgb[new], filled[new], trust[new])
            self._answers |= {own[i]: pair for i, pair in zip(new, zip(*answers, strict=True), strict=True)}
        self._answers = {name: self._answers[name] for name in own}
        disparity, normals = zip(*(self._answers[name] for name in own), strict=True)
        return np.stack(disparity), np.stack(normals)


def condition(rgb: Float32, filled: Float32, trust: Float32, together: bool = True) -> Condition:
    """(T, h, w, 3) in [-1, 1] and (T, h, w) twice -> the network's input: one clip of T frames, or T clips of one."""
    batch = 0 if together else 1
    video = torch.from_numpy(rgb).unsqueeze(batch).permute(0, 4, 1, 2, 3).contiguous()
    return Condition(video, torch.from_numpy(filled).unsqueeze(batch), torch.from_numpy(trust).unsqueeze(batch))


def _rgb_at(clip: Clip, size: tuple[int, int]) -> Float32:
    pictures = [cv2.resize(frame.rgb, size, interpolation=cv2.INTER_AREA) for frame in clip.frames]
    return (np.stack(pictures).astype(np.float32) / 127.5 - 1).astype(np.float32)

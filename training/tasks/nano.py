"""The small completion engine, trained from nothing: first its codec, then all of it on the final answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dkt_ros.engines import Engine
from dkt_ros.engines.checkpoints import CheckpointError, fill_module, load_weights, save_weights
from dkt_ros.engines.completion import AREA, CLIP_LENGTHS, TOGETHER, CompletionEngine, completion_card
from dkt_ros.engines.completion_model import CompletionModel, sensor_video
from dkt_ros.engines.nano import WEIGHTS
from dkt_ros.engines.wan import WanSizes
from dkt_ros.training.data import Batch, SequencePool, draw_batch
from dkt_ros.training.losses import completion_loss, reconstruction_loss
from dkt_ros.training.muon import hidden_matrices
from dkt_ros.training.recipe import Recipe, refuse_unknown
from dkt_ros.training.tasks import Group, Setup

TRAINS = ("codec", "all")
#: How the engine works unless the recipe's ``model`` says otherwise.
WORKS = {"clip_lengths": CLIP_LENGTHS, "area": AREA, "together": TOGETHER}
LICENCE = "Apache-2.0"
#: Batches of single frames over which the codec's latents are measured, and clips in each.
MEASURED = (8, 8)


@dataclass(frozen=True)
class NanoBatch:
    """``batch`` for the whole network; with ``chosen``, only those of its videos (``_codec_videos``) for the codec."""

    batch: Batch
    chosen: Tensor | None = None


class NanoModule(nn.Module):
    """The network and its losses."""

    def __init__(self, network: CompletionModel) -> None:
        super().__init__()
        self.network = network

    def forward(self, given: NanoBatch) -> dict[str, Tensor]:
        if given.chosen is None:
            return completion_loss(self.network(given.batch.condition), given.batch)
        video = _codec_videos(given.batch)[given.chosen]
        latents = self.network.core.encode(video)
        loss = reconstruction_loss(self.network.core.decode(latents), video)
        return {"reconstruction": loss, "total": loss + 1e-4 * latents.square().mean()}


class Nano:
    """See ``Task``.

    The recipe's ``model`` holds ``codec`` and ``transformer`` (see ``WanSizes``) and may say how its engine works:
    ``clip_lengths``, ``area`` and ``together`` (see ``completion.load``). ``data`` has ``clips_per_step`` (frames per
    clip -> clips), each phase ``trains`` ("codec": reconstruct pictures; "all": the whole network on the final answer)
    and ``frames`` (frames per clip -> how often). ``start_from`` is a file of the same sizes, or "bundled".

    Raises:
        ValueError: a key or word of the recipe is missing or unknown, a base is given, or no sequence is long enough.
        FileNotFoundError, CheckpointError: no sequences, or ``start_from`` cannot be used.
    """

    engine_name = "completion"

    def __init__(self, setup: Setup) -> None:
        self._recipe = recipe = setup.recipe
        _check(recipe, f"recipe {recipe.name}")
        if setup.base:
            raise ValueError(f"recipe {recipe.name}: --base is not for this task; 'start_from' begins with weights")
        model = {**WORKS, **recipe.model}
        self._sizes = WanSizes(codec=model.pop("codec"), transformer=model.pop("transformer"))
        self._works = model
        self._network = CompletionModel(self._sizes)
        self._clips: dict[int, int] = dict(recipe.data["clips_per_step"])
        if recipe.start_from:
            _start_from(self._network, recipe.start_from)
        self.module = NanoModule(self._network)
        self._pool = SequencePool(setup.data / "train")
        self._pool.long_enough(max(max(phase.options["frames"]) for phase in recipe.phases))

    def groups(self) -> Sequence[Group]:
        hidden = {f"network.{name}": parameter for name, parameter in hidden_matrices(self._network).items()}
        others = {name: parameter for name, parameter in self.module.named_parameters() if name not in hidden}
        return Group(hidden, "muon"), Group(others)

    def begin(self, phase: int) -> None:
        """After a phase of the codec: set its latents' mean and deviation; the transformer then sees unit numbers."""
        if phase > 0 and self._recipe.phases[phase - 1].options["trains"] == "codec":
            self._measure_latents(phase)

    def draw(self, rng: np.random.Generator, step: int) -> NanoBatch:
        options = self._recipe.phases[self._recipe.at(step)[0]].options
        lengths, shares = list(options["frames"]), np.array(list(options["frames"].values()))
        frames = int(rng.choice(lengths, p=shares / shares.sum()))
        batch = draw_batch(self._pool, rng, frames, self._clips[frames])
        if options["trains"] == "all":
            return NanoBatch(batch)
        videos = 4 * len(batch.disparity)
        return NanoBatch(batch, torch.from_numpy(rng.permutation(videos)[: videos // 2]))

    def refresh(self) -> None:
        self._pool.refresh()

    def summary(self) -> str:
        return f"train: {len(self._pool.sequences)} sequences, {len(self._pool.skipped)} skipped"

    def state(self) -> dict[str, Tensor]:
        return dict(self.module.named_buffers())

    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        for name, buffer in self.module.named_buffers():
            buffer.copy_(tensors[name])

    def save(self, path: Path, facts: Mapping[str, Any]) -> None:
        sequences, recipe = len(self._pool.sequences), facts["recipe"]
        config = {
            **facts,
            **self._works,
            "sizes": asdict(self._sizes),
            "sequences": sequences,
            "skipped_files": len(self._pool.skipped),
            "licence": LICENCE,
            "description": (
                f"A completion network after {facts['steps']} steps of recipe {recipe['name']} ({recipe['hash']}) "
                f"on {sequences} rendered sequences, and on nothing real."
            ),
        }
        save_weights(path, self._network.state_dict(), config, half=True)

    def engine(self) -> Engine:
        card = completion_card(tuple(self._works["clip_lengths"]), LICENCE, "in training")
        return CompletionEngine(self._network.eval(), card, self._works["area"], self._works["together"])

    @torch.no_grad()
    def _measure_latents(self, phase: int) -> None:
        rng = np.random.default_rng([self._recipe.seed, 1, sum(p.steps for p in self._recipe.phases[:phase])])
        core = self._network.core
        device = core.latents_mean.device
        batches, clips = MEASURED
        raw = [
            core.encode(_codec_videos(draw_batch(self._pool, rng, 1, clips)).to(device)) * core.latents_std
            + core.latents_mean
            for _ in range(batches)
        ]
        channels = torch.cat([r.transpose(0, 1).flatten(1) for r in raw], dim=1)
        mean, deviation = channels.mean(dim=1), channels.std(dim=1).clamp_min(1e-3)
        core.latents_mean.copy_(mean.view(1, -1, 1, 1, 1))
        core.latents_std.copy_(deviation.view(1, -1, 1, 1, 1))


def _codec_videos(batch: Batch) -> Tensor:
    """Everything that the codec will meet: colours, the filled sensor, the answer, normals. (4 B, 3, T, H, W)."""
    rgb, filled, trust = batch.condition
    answer = sensor_video(batch.disparity, 1.0 - batch.wrong)
    return torch.cat([rgb, sensor_video(filled, trust), answer, batch.normals])


def _check(recipe: Recipe, where: str) -> None:
    """Refuse what this task does not know, and what it lacks."""
    refuse_unknown(recipe.model, ("codec", "transformer", *WORKS), f"{where}: model")
    refuse_unknown(recipe.data, ("clips_per_step",), f"{where}: data")
    refuse_unknown(recipe.lora, (), f"{where}: lora")
    for values, key in ((recipe.model, "codec"), (recipe.model, "transformer"), (recipe.data, "clips_per_step")):
        if key not in values:
            raise ValueError(f"{where}: missing {key}")
    for phase in recipe.phases:
        name = f"{where}: phase {phase.name}"
        refuse_unknown(phase.options, ("trains", "frames"), name)
        if phase.options.get("trains") not in TRAINS:
            raise ValueError(f"{name} trains {phase.options.get('trains')!r}; must be one of {TRAINS}")
        frames = phase.options.get("frames") or {}
        if not frames or not frames.keys() <= recipe.data["clips_per_step"].keys():
            raise ValueError(f"{name}: frames {sorted(frames)}: some, each with its number in clips_per_step")


def _start_from(network: CompletionModel, weights: str) -> None:
    path = WEIGHTS if weights == "bundled" else Path(weights)
    tensors, config = load_weights(path)
    if (own := asdict(network.core.sizes)) != config.get("sizes"):
        raise CheckpointError(
            f"{path}: its sizes {config.get('sizes')} are not the recipe's {own}; take one of the same"
        )
    fill_module(network, tensors, path)


def build(setup: Setup) -> Nano:
    """See ``build_task``."""
    return Nano(setup)

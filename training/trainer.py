"""One training run: network, optimiser, averaged weights, and how to save and resume them to the same numbers."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from dkt_ros.engines.checkpoints import CheckpointError, fill_module, load_weights, save_weights
from dkt_ros.engines.completion_model import CompletionModel, sensor_video
from dkt_ros.training.data import Batch, SequencePool, draw_batch
from dkt_ros.training.losses import completion_loss, reconstruction_loss
from dkt_ros.training.muon import HiddenMatrices, hidden_matrices
from dkt_ros.training.recipe import Recipe
from dkt_ros.training.validation import validate


class Trainer:
    """``advance`` makes one step. What a step draws depends on the recipe's seed, its number and the data only."""

    def __init__(self, recipe: Recipe, data: Path) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe = recipe
        self.model = CompletionModel(recipe.model)
        self.average = CompletionModel(recipe.model).requires_grad_(False)
        self.average.load_state_dict(self.model.state_dict())
        hidden = hidden_matrices(self.model)
        others = [p for name, p in self.model.named_parameters() if name not in hidden]
        self.optimisers: tuple[torch.optim.Optimizer, ...] = (
            HiddenMatrices(hidden.values(), recipe.weight_decay),
            torch.optim.AdamW(others, lr=1.0, betas=(0.9, 0.95), weight_decay=recipe.weight_decay),
        )
        self.pool = SequencePool(data / "train")
        self.validation = SequencePool(data / "val")
        self.step = 0
        self._drawer = ThreadPoolExecutor(1, thread_name_prefix="draw")
        self._drawn: tuple[int, Future[tuple[Batch, np.random.Generator]]] | None = None

    @property
    def phase_name(self) -> str:
        """Of the last step made."""
        return self.recipe.phases[self.recipe.at(max(0, self.step - 1))[0]].name

    def advance(self) -> dict[str, float]:
        """One optimiser step; returns its loss terms, with ``val_*`` added every ``validate_every`` steps."""
        index, within = self.recipe.at(self.step)
        phase = self.recipe.phases[index]
        if within == 0 and index > 0 and self.recipe.phases[index - 1].trains == "codec":
            self._measure_latents()
        batch, rng = self._next_batch()
        with torch.autocast("cpu", torch.bfloat16, enabled=self.recipe.bf16):
            terms = self._codec_terms(batch, rng) if phase.trains == "codec" else self._completion_terms(batch)
        self.model.zero_grad(set_to_none=True)
        terms["total"].backward()
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimiser in self.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = phase.rate_at(within)
            if torch.isfinite(norm):
                optimiser.step()
        self.step += 1
        self._follow()
        row = {name: float(value.detach()) for name, value in terms.items()} | {"gradient_norm": float(norm)}
        if self.step % self.recipe.validate_every == 0:
            self.pool.refresh()
            if phase.trains == "all":
                row |= {f"val_{name}": value for name, value in validate(self.average, self.validation).items()}
        return row

    def _next_batch(self) -> tuple[Batch, np.random.Generator]:
        """This step's batch, drawn in another thread during the last step; the next is begun at once.

        Not across a validation, which may find new sequences.
        """
        if self._drawn is not None and self._drawn[0] == self.step:
            ready = self._drawn[1].result()
        else:
            ready = self._draw(self.step)
        self._drawn = None
        if (self.step + 1) % self.recipe.validate_every:
            self._drawn = (self.step + 1, self._drawer.submit(self._draw, self.step + 1))
        return ready

    def _draw(self, step: int) -> tuple[Batch, np.random.Generator]:
        phase = self.recipe.phases[self.recipe.at(step)[0]]
        rng = np.random.default_rng([self.recipe.seed, step])
        lengths, shares = list(phase.frames), np.array(list(phase.frames.values()))
        frames = int(rng.choice(lengths, p=shares / shares.sum()))
        return draw_batch(self.pool, rng, frames, self.recipe.clips_per_step[frames]), rng

    def _completion_terms(self, batch: Batch) -> dict[str, Tensor]:
        return completion_loss(self.model(batch.condition), batch)

    def _codec_terms(self, batch: Batch, rng: np.random.Generator) -> dict[str, Tensor]:
        video = _codec_videos(batch)
        video = video[rng.permutation(len(video))[: len(video) // 2]]
        latents = self.model.core.encode(video)
        loss = reconstruction_loss(self.model.core.decode(latents), video)
        return {"reconstruction": loss, "total": loss + 1e-4 * latents.square().mean()}

    def _follow(self) -> None:
        """Move the averaged weights toward the current ones; fast at the start, when there is little to average."""
        keep = min(self.recipe.ema, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for own, current in zip(self.average.parameters(), self.model.parameters(), strict=True):
                own.lerp_(current, 1 - keep)
            for own_buffer, buffer in zip(self.average.buffers(), self.model.buffers(), strict=True):
                own_buffer.copy_(buffer)

    @torch.no_grad()
    def _measure_latents(self) -> None:
        """Set the codec's latent mean and deviation, per channel, so that the transformer sees unit numbers."""
        rng = np.random.default_rng([self.recipe.seed, 1, self.step])
        core = self.model.core
        raw = [core.encode(_codec_videos(draw_batch(self.pool, rng, 1, 8))) for _ in range(8)]
        channels = torch.cat([r.transpose(0, 1).flatten(1) for r in raw], dim=1)
        mean, deviation = channels.mean(dim=1), channels.std(dim=1).clamp_min(1e-3)
        core.latents_mean.copy_(mean.view(1, -1, 1, 1, 1))
        core.latents_std.copy_(deviation.view(1, -1, 1, 1, 1))

    def save(self, out: Path) -> None:
        """Write the averaged weights for the engine, and everything that ``load`` needs to go on."""
        config = {"sizes": asdict(self.recipe.model), "steps": self.step, "sequences": len(self.pool.sequences)}
        save_weights(out / "weights.safetensors", self.average.state_dict(), config, half=True)
        state = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        state |= {f"average.{k}": v for k, v in self.average.state_dict().items()}
        for name, parameter in self.model.named_parameters():
            for optimiser in self.optimisers:
                for key, value in optimiser.state.get(parameter, {}).items():
                    state[f"optimiser.{key}.{name}"] = value
        save_weights(out / "state.safetensors", state, config)

    def load(self, path: Path) -> None:
        """Go on from a state that ``save`` wrote.

        Raises:
            CheckpointError: the state is of another network.
        """
        tensors, config = load_weights(path)
        if config["sizes"] != asdict(self.recipe.model):
            raise CheckpointError(f"{path}: trained with other sizes than the recipe's model; give its own recipe")
        for prefix, module in (("model.", self.model), ("average.", self.average)):
            fill_module(module, _under(tensors, prefix), path)
        for optimiser, keys in zip(self.optimisers, (("momentum",), ("step", "exp_avg", "exp_avg_sq")), strict=True):
            own = {id(p) for group in optimiser.param_groups for p in group["params"]}
            for key in keys:
                moments = _under(tensors, f"optimiser.{key}.")
                for name, parameter in self.model.named_parameters():
                    if id(parameter) in own and name in moments:
                        optimiser.state[parameter][key] = moments[name]
        self.step = int(config["steps"])


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _codec_videos(batch: Batch) -> Tensor:
    """Everything that the codec will meet: colours, the filled sensor, the answer, normals. (4 B, 3, T, H, W)."""
    rgb, filled, trust = batch.condition
    answer = sensor_video(batch.disparity, 1.0 - batch.wrong)
    return torch.cat([rgb, sensor_video(filled, trust), answer, batch.normals])

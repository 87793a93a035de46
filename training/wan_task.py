"""What the tasks on Wan transformers share: the frozen codec and base, the data, and what is saved for the engines."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dkt_ros.engines import Engine
from dkt_ros.engines.checkpoints import save_weights
from dkt_ros.engines.completion_model import fold_trust
from dkt_ros.engines.wan_codec import WanCodec
from dkt_ros.engines.wan_completion import Trained, completion_latents
from dkt_ros.training.clip import TrainingClip
from dkt_ros.training.lora_model import adapters, add_adapters, ask, continue_from, published_tensors, widen
from dkt_ros.training.mixing import Mix, read_mix
from dkt_ros.training.recipe import refuse_unknown
from dkt_ros.training.tasks import Group, Setup
from dkt_ros.training.wan_samples import Batch, Completion, completion_sample, stacked

_log = logging.getLogger(__name__)

#: Keys of a recipe's ``model`` that every such task knows, and those that completion adds.
COMMON = ("size", "licence")
COMPLETION = tuple(field.name for field in fields(Completion))


class WanModule(nn.Module):
    """The transformer, and the loss of a batch: what the trainer wraps."""

    def __init__(self, transformer: Any, loss: Callable[[Batch], dict[str, Tensor]]) -> None:
        super().__init__()
        self.transformer = transformer
        self._loss = loss

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        return self._loss(batch)


class Live:
    """The transformer in training as engines want it; see ``dkt_engine.Transformer``."""

    def __init__(self, transformer: Any, times: Sequence[float], text: Tensor, image: Tensor | None = None) -> None:
        self._transformer, self._times, self._text, self._image = transformer, times, text, image

    def __call__(self, latents: Tensor, step: int) -> Tensor:
        time = torch.full((len(latents),), self._times[step], device=latents.device)
        return ask(self._transformer, latents, time, self._text, self._image)

    def to(self, device: torch.device) -> Live:
        """It stays where it is trained."""
        return self


class WanTask(ABC):
    """See ``Task``. A subclass says what the loss is and what engine runs on the result.

    Args:
        setup: its recipe's ``lora`` has ``rank`` (of fresh adapters; those that go on keep theirs), its ``data`` is
            that of ``mixing.read_mix``, its ``model`` has ``size`` ((width, height) at which the engine will work; if
            not given, the first loader's), ``licence`` of the result, the fields of ``Completion`` and what the
            subclass adds.
        transformer: the base, without adapters, in its dtype.
        codec: frozen; kept out of the module, so that nobody trains, saves or spreads it.
        start: adapters to go on from; None: fresh ones.
        completes: whether the first layer is widened.
        keys: of ``model`` that the subclass adds.

    Raises:
        ValueError, FileNotFoundError, CheckpointError: the recipe, the data or the adapters are not as needed.
    """

    #: As in the header of what is saved, and as in ``--engine``.
    name: str

    def __init__(
        self,
        setup: Setup,
        transformer: Any,
        codec: WanCodec,
        start: Path | None,
        completes: bool,
        keys: Sequence[str] = (),
    ) -> None:
        recipe = self.recipe = setup.recipe
        where = f"recipe {recipe.name}"
        refuse_unknown(recipe.lora, ("rank",), f"{where}: lora")
        refuse_unknown(recipe.model, (*COMMON, *keys, *(COMPLETION if completes else ())), f"{where}: model")
        given = {key: recipe.model[key] for key in COMPLETION if key in recipe.model}
        self.completion = Completion(**given | ({"beta": tuple(given["beta"])} if "beta" in given else {}))
        self.codec, self.completes, self.start = codec, completes, start
        rank = int(recipe.lora.get("rank", 128))
        if start is None:
            add_adapters(transformer, rank)
        elif (found := continue_from(transformer, start)) != rank:
            _log.warning("%s: its adapters have rank %d; training goes on with these, not with %d", start, found, rank)
        if completes and transformer.patch_embedding.weight.requires_grad is False:
            widen(transformer)
        self.transformer = transformer
        self.module = WanModule(transformer, self.loss)
        self._root = setup.data
        self.mix = read_mix(recipe.data, self._root)
        self._mixes = self._read_mixes(self.mix)

    @abstractmethod
    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """The terms of one batch."""

    @abstractmethod
    def sample(self, clip: TrainingClip) -> Batch:
        """A clip for the base task, without completion."""

    @abstractmethod
    def facts(self) -> dict[str, Any]:
        """What the header says beside the common facts: "description" and more."""

    @abstractmethod
    def engine(self) -> Engine:
        """See ``Task``."""

    @property
    def engine_name(self) -> str:
        return self.name

    def groups(self) -> Sequence[Group]:
        return (Group({f"transformer.{name}": value for name, value in adapters(self.transformer).items()}),)

    def begin(self, phase: int) -> None:
        del phase  # all phases begin alike

    def draw(self, rng: np.random.Generator, step: int) -> Batch:
        clips = self._mixes[self.recipe.at(step)[0]].batch(rng)
        if self.completes:
            return self.finish([completion_sample(clip, rng, self.completion) for clip in clips], rng)
        return self.finish([self.sample(clip) for clip in clips], rng)

    def finish(self, samples: Sequence[Batch], rng: np.random.Generator) -> Batch:
        """One batch of them."""
        return stacked(samples)

    def refresh(self) -> None:
        """Read the folders anew."""
        fresh = read_mix(self.recipe.data, self._root)
        fresh.follow(self.mix)
        self.mix, self._mixes = fresh, self._read_mixes(fresh)

    def summary(self) -> str:
        """See ``Task``."""
        return self.mix.summary()

    def _read_mixes(self, mix: Mix) -> list[Mix]:
        """Of each phase: the loaders that it names, or all."""
        where, names = f"recipe {self.recipe.name}", [loader.name for loader in mix.loaders]
        for loader in mix.loaders:
            if any(length % 4 != 1 for length in loader.frames):
                raise ValueError(f"{where}: loader {loader.name}: frames {loader.frames}: each must be 4n+1")
            for source in (source for source, _ in loader.sets.values() if source.video):
                source.check(max(loader.frames))
        mixes = []
        for phase in self.recipe.phases:
            refuse_unknown(phase.options, ("loaders",), f"{where}: phase {phase.name}")
            wanted = phase.options.get("loaders", names)
            refuse_unknown(dict.fromkeys(wanted), names, f"{where}: phase {phase.name}: loaders")
            mixes.append(Mix(tuple(loader for loader in mix.loaders if loader.name in wanted)))
        return mixes

    def state(self) -> dict[str, Tensor]:
        return {}

    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        del tensors  # there is nothing to take back

    def save(self, path: Path, facts: Mapping[str, Any]) -> None:
        save_weights(path, published_tensors(self.transformer), {**facts, **self.header()})

    def header(self) -> dict[str, Any]:
        """What an engine needs to know of the result, and its card."""
        width, height = self.size
        longest = max(length for loader in self.mix.loaders for length in loader.frames)
        return {
            "task": f"{self.name}_c" if self.completes else self.name,
            "size": [width, height],
            "area": width * height,
            "clip_lengths": list(range(1, longest + 1, 4)),
            "sequences": sum(len(source) for source in self.mix.sets.values()),
            "skipped_files": len(self.mix.skipped),
            "sets": sorted(self.mix.sets),
            "licence": self.recipe.model.get("licence", "unknown"),
            **self.facts(),
        }

    def trained(self) -> Trained:
        """The same as ``wan_completion.read_trained`` will read it."""
        header = self.header()
        lengths = tuple(header["clip_lengths"])
        return Trained(self.size, lengths, header["licence"], header["description"])

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the pictures that the engine will work at."""
        if "size" in self.recipe.model:
            width, height = self.recipe.model["size"]
            return int(width), int(height)
        sizes = [loader.size for loader in self.mix.loaders if loader.size]
        if not sizes:
            raise ValueError(f"recipe {self.recipe.name}: model: size [width, height] is needed, as no loader has one")
        return sizes[0][1], sizes[0][0]

    def latents(self, batch: Batch) -> tuple[Tensor, Tensor | None, Tensor]:
        """Of pictures, condition (None without completion) and target: float32, without gradients."""
        with torch.no_grad(), torch.autocast(batch.pictures.device.type, enabled=False):
            if batch.filled is None or batch.trust is None:
                shown, truth = self.codec.encode(torch.cat([batch.pictures, batch.target])).chunk(2)
                return shown, None, truth
            shown, condition = completion_latents(self.codec, batch.pictures, batch.filled, batch.trust)
            return shown, condition, self.codec.encode(batch.target)

    def cell_weight(self, batch: Batch) -> Tensor | None:
        """(B, 1, t, h, w) means of the pixels' weights over the latents' cells."""
        if batch.weight is None:
            return None
        folded = fold_trust(batch.weight, self.codec.cell, self.codec.group)
        return folded.mean(dim=1, keepdim=True)

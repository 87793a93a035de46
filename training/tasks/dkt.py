"""DKT: adapters on Wan2.1-Fun-Control that turn noise into disparity, or normals, of a video by flow matching.

Published: AdamW 1e-5, batch 8, 70,000 steps, clips of 4N+1 frames with N drawn from 0..5, adapters only, time told in
bfloat16. Not published, and so our choice: how disparity is normalised (as DVD's), the weight of each noise level (see
``flow_loss``), one level for each clip of a batch, and the axes of normals (x right, y down, z forward, as "+x+y+z").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dkt_ros.engines import Engine
from dkt_ros.engines.dkt import STEPS, WORKING, dkt_card
from dkt_ros.engines.dkt_engine import DktEngine
from dkt_ros.engines.dkt_parts import check_prompt
from dkt_ros.engines.flow import times
from dkt_ros.engines.parts import NORMALS_FOLDER, find_parts, places
from dkt_ros.engines.prompts import load_prompt
from dkt_ros.engines.wan_codec import WanCodec
from dkt_ros.engines.wan_completion import LIMIT, FlowPass, WanCompletionEngine, completion_card
from dkt_ros.engines.weights import load_codec, load_transformer
from dkt_ros.training.clip import TrainingClip
from dkt_ros.training.flow_loss import LEVELS, WEIGHTINGS, flow_loss, noised, told_times
from dkt_ros.training.lora_model import ask
from dkt_ros.training.tasks import Setup
from dkt_ros.training.wan_samples import Batch, depth_sample, normal_sample, stacked
from dkt_ros.training.wan_task import Live, WanTask

PREDICTS = ("depth", "normal")


class Dkt(WanTask):
    """See ``WanTask``. ``model`` also has ``predicts`` ("depth" or "normal") and ``weighting`` (see ``flow_loss``).

    ``--base`` is a DKT folder: base, codec and the prompt embedding; where it has a LoRA, training goes on from that.
    For normals, the embedding of "normal" and a LoRA to go on from lie in its subfolder ``normal``.
    """

    name = "dkt"

    def __init__(self, setup: Setup, completes: bool = False) -> None:
        model, where = setup.recipe.model, f"recipe {setup.recipe.name}: model"
        self.predicts, self.weighting = model.get("predicts", "depth"), model.get("weighting", "bell")
        if self.predicts not in PREDICTS or (completes and self.predicts != "depth"):
            choices = ("depth",) if completes else PREDICTS
            raise ValueError(f"{where}: predicts {self.predicts!r}; choose one of {', '.join(choices)}")
        if self.weighting not in WEIGHTINGS:
            raise ValueError(f"{where}: weighting {self.weighting!r}; choose one of {', '.join(WEIGHTINGS)}")
        dtype = torch.bfloat16 if setup.recipe.precision == "bfloat16" else torch.float32
        parts, start = training_parts(setup, self.predicts, completes)
        transformer: Any = load_transformer(parts["transformer"], [], dtype, setup.device)
        vae = load_codec(parts["codec"], dtype, setup.device)
        codec = WanCodec(vae, setup.device, dtype, limit=LIMIT if completes else 1.0)
        self.text = load_prompt(parts["prompt"], transformer.config.text_dim)
        # One token of zeros says what the published 257 say.
        self.image = torch.zeros(1, transformer.config.image_dim)
        super().__init__(setup, transformer, codec, start, completes, ("predicts", "weighting"))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        assert batch.level is not None
        shown, condition, clean = self.latents(batch)
        noise = torch.randn_like(clean)
        given = [noised(clean, noise, batch.level), shown, *([] if condition is None else [condition])]
        velocity = ask(self.transformer, torch.cat(given, dim=1), told_times(batch.level), self.text, self.image)
        return flow_loss(velocity, clean, noise, batch.level, self.weighting, self.cell_weight(batch))

    def sample(self, clip: TrainingClip) -> Batch:
        return normal_sample(clip) if self.predicts == "normal" else depth_sample(clip)

    def finish(self, samples: Sequence[Batch], rng: np.random.Generator) -> Batch:
        return stacked(samples, torch.from_numpy(rng.integers(LEVELS, size=len(samples))))

    def facts(self) -> dict[str, Any]:
        what = "completion of sensor depth" if self.completes else f"the {self.predicts} of transparent things"
        return {
            "predicts": self.predicts,
            "description": (
                f"Adapters for Wan2.1-Fun-Control after the manner of DKT, for {what}, trained by recipe "
                f"{self.recipe.name} on {', '.join(sorted(self.mix.sets))}, whose own terms may bind these weights."
            ),
        }

    def engine(self) -> Engine:
        transformer = Live(self.transformer.eval(), times(STEPS), self.text, self.image)
        if self.completes:
            card = completion_card("dkt", self.trained())
            return WanCompletionEngine(card, self.codec, FlowPass(transformer, STEPS), WORKING, self.size)
        card = replace(dkt_card("streaming", "low_latency", self.predicts == "normal"), description="in training")
        if self.predicts == "depth":
            return DktEngine(card, self.codec, transformer, steps=STEPS, size=self.size)
        return DktEngine(card, self.codec, _Still(), transformer, steps=STEPS, size=self.size)


class _Still:
    """In the place of the transformer for depth, where there is only one for normals: disparity is then of no worth."""

    def __call__(self, latents: Tensor, step: int) -> Tensor:
        return torch.zeros_like(latents[:, : latents.shape[1] // 2])

    def to(self, device: torch.device) -> _Still:
        return self


def training_parts(setup: Setup, predicts: str, completes: bool) -> tuple[dict[str, Path], Path | None]:
    """The files by role ("transformer", "codec", "prompt"), and the adapters to go on from, if there are any.

    Raises:
        ValueError: no base is given.
        FileNotFoundError, CheckpointError: see ``find_parts``; or the prompt is another one.
    """
    if not setup.base:
        raise ValueError(
            f"recipe {setup.recipe.name}: needs --base, the folder of DKT's base, codec and prompt embedding; "
            "'dkt models fetch dkt-depth-1.3b --out DIR' gets it"
        )
    where = [*setup.base, *([Path(setup.recipe.start_from)] if setup.recipe.start_from else [])]
    found = find_parts(where, "transformer", "codec", optional=("dkt completion", "lora", "normal lora"))
    told, wanted = where, ("dkt completion", "lora") if completes else ("lora",)
    if predicts == "normal":
        told = [place / NORMALS_FOLDER for place in places(where) if (place / NORMALS_FOLDER).is_dir()]
        if not told:
            raise ValueError(
                f"{where[0]}: needs a folder {NORMALS_FOLDER}/ with the embedding of 'normal'; make it with "
                "'dkt models embed-prompt --text normal'"
            )
        below = find_parts(told, optional=("normal lora", "lora"))
        found |= {"lora": below["lora"], "normal lora": found["normal lora"] or below["normal lora"]}
        wanted = ("normal lora", "lora")
    prompt = check_prompt(predicts, find_parts(told, "prompt")["prompt"][0])
    start = next((found[role][0] for role in wanted if found[role]), None)
    return {"transformer": found["transformer"][0], "codec": found["codec"][0], "prompt": prompt}, start


def build(setup: Setup) -> Dkt:
    """See ``build_task``."""
    return Dkt(setup)

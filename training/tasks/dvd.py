"""DVD: adapters on plain Wan 2.1 that turn the latent of pictures into that of their disparity, in one pass.

Published: mean squared error and half the errors of the first differences of the latents, time 500, adapters of rank
512 only, AdamW 1e-4, no averaging. Different here: adapters and optimiser are float32, gradients of several processes
are averaged (at the published revision they are not), and the rate is the recipe's from the first step.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dkt_ros.engines import Engine
from dkt_ros.engines.dvd import WORKING, DvdEngine, dvd_card
from dkt_ros.engines.dvd_network import DvdNetwork
from dkt_ros.engines.dvd_parts import find_dvd
from dkt_ros.engines.dvd_windows import rule_named
from dkt_ros.engines.wan_codec import WanCodec
from dkt_ros.engines.wan_completion import LIMIT, SinglePass, WanCompletionEngine, completion_card
from dkt_ros.engines.weights import load_dvd_parts
from dkt_ros.training.clip import TrainingClip
from dkt_ros.training.decoded_losses import decoded_loss
from dkt_ros.training.lora_model import predict_latents
from dkt_ros.training.published_losses import latent_loss
from dkt_ros.training.tasks import Setup
from dkt_ros.training.wan_samples import Batch, depth_sample
from dkt_ros.training.wan_task import Live, WanTask


class Dvd(WanTask):
    """See ``WanTask``.

    ``--base`` is DVD's file or folder, whose adapters are trained on; or plain Wan 2.1 T2V with its codec.
    """

    name = "dvd"

    def __init__(self, setup: Setup, completes: bool = False) -> None:
        recipe = setup.recipe
        if not setup.base:
            raise ValueError(
                f"recipe {recipe.name}: needs --base, DVD's file or folder ('dkt models fetch dvd-1.1 --out DIR' gets "
                "it), or plain Wan 2.1 T2V with its codec"
            )
        where = [*setup.base, *([Path(recipe.start_from)] if recipe.start_from else [])]
        parts = find_dvd(where, adapted=False)
        wanted = ("dvd completion", "dvd lora", "dvd") if completes else ("dvd lora", "dvd")
        start = next((parts[role] for role in wanted if role in parts), None)
        dtype = torch.bfloat16 if recipe.precision == "bfloat16" else torch.float32
        dvd = load_dvd_parts(parts, dtype, setup.device, merge=False)
        self.denoise_step = dvd.denoise_step
        self.own_base = "dvd" in parts
        assert dvd.codec is not None
        codec = WanCodec(dvd.codec, setup.device, dtype, limit=LIMIT if completes else 1.0)
        super().__init__(setup, dvd.transformer, codec, start, completes)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        shown, condition, truth = self.latents(batch)
        given = shown if condition is None else torch.cat([shown, condition], dim=1)
        predicted = predict_latents(self.transformer, given, self.denoise_step)
        terms = latent_loss(predicted, truth, weight=self.cell_weight(batch))
        total = terms.pop("total")
        if self.completes and self.completion.decoded:
            decoded = decoded_loss(self.codec.first_frame(predicted), batch)
            total = total + self.completion.decoded * torch.stack(list(decoded.values())).sum()
            terms |= decoded
        return {**{name: term.detach() for name, term in terms.items()}, "total": total}

    def sample(self, clip: TrainingClip) -> Batch:
        return depth_sample(clip)

    def facts(self) -> dict[str, Any]:
        what = "completion of sensor depth" if self.completes else "disparity"
        base = "DVD" if self.own_base else "Wan2.1-T2V, after the manner of DVD"
        return {
            "predicts": "depth",
            "description": (
                f"Adapters for {base}, for {what}, trained by recipe {self.recipe.name} on "
                f"{', '.join(sorted(self.mix.sets))}, whose own terms may bind these weights."
            ),
        }

    def engine(self) -> Engine:
        text = torch.zeros(1, self.transformer.config.text_dim)
        transformer = Live(self.transformer.eval(), [1000 * self.denoise_step], text)
        if self.completes:
            card = completion_card("dvd", self.trained())
            return WanCompletionEngine(card, self.codec, SinglePass(transformer), WORKING, self.size)
        card = replace(dvd_card("streaming", "low_latency"), description="in training")
        network = DvdNetwork(self.codec, transformer)
        return DvdEngine(network, card, "streaming", rule_named("demo"), self.size[::-1], self.codec.device)


def build(setup: Setup) -> Dvd:
    """See ``build_task``."""
    return Dvd(setup)

"""What the engines on Wan, DKT and DVD, make of the same options."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dkt_ros.choices import MODES, VAES
from dkt_ros.engines import EngineOptions
from dkt_ros.engines.tiny_autoencoder import load_tiny_autoencoder
from dkt_ros.engines.tiny_codec import TinyCodec
from dkt_ros.engines.video_codecs import Codec, MixedCodec
from dkt_ros.engines.wan_codec import WanCodec
from dkt_ros.engines.wan_completion import LIMIT
from dkt_ros.engines.wan_transformer import FoldedTransformer


def mode_and_profile(engine: str, options: EngineOptions, profiles: Collection[str]) -> tuple[str, str]:
    """The mode ("streaming" unless chosen) and the profile ("reference" unless chosen).

    Raises:
        ValueError: one of them, or ``vae``, is none of the choices.
    """
    chosen = {
        "mode": (options.mode or "streaming", MODES),
        "profile": (options.profile or "reference", profiles),
        "vae": (options.vae or "full", VAES),
    }
    for name, (value, choices) in chosen.items():
        if value not in choices:
            what = f"{name} = {value}: engine {engine!r} has no such choice"
            raise ValueError(f"{what}; choose one of {', '.join(choices)}")
    return chosen["mode"][0], chosen["profile"][0]


def refuse_small_codec(options: EngineOptions, adapters: Path) -> None:
    """Raise ValueError if ``vae`` asks completion for a small codec: it cuts pictures off at 1, answers go beyond."""
    if options.vae in ("tiny", "tiny_both"):
        raise ValueError(
            f"vae = {options.vae}: {adapters} completes sensor depth, with disparities up to {LIMIT} of the sensor's "
            "range, and the small codec cuts off at 1, so what is nearer or farther would be wrong; leave vae out"
        )


def tiny_roles(options: EngineOptions) -> list[str]:
    """The role of the small codec's file, if ``vae`` asks for one."""
    return ["tiny codec"] if options.vae in ("tiny", "tiny_both") else []


def make_codec(
    vae: Any,
    tiny: Path | None,
    options: EngineOptions,
    device: torch.device,
    dtype: torch.dtype,
    limit: float = 1.0,
) -> Codec:
    """The codec that ``options.vae`` asks for: the full one's weights, and the small one's file where it is wanted.

    ``limit`` is the full one's, see ``WanCodec``; the small one always cuts off at 1 (see ``refuse_small_codec``).
    """
    compiled = _compiled(options)
    if tiny is None:
        return WanCodec(vae, device, dtype, compiled, limit)
    small = TinyCodec(load_tiny_autoencoder(tiny), device, dtype, compiled)
    return small if options.vae == "tiny_both" else MixedCodec(WanCodec(vae, device, dtype, compiled), small)


def fold(
    model: Any, times: Sequence[float], text: Tensor | None, image_token: bool, options: EngineOptions
) -> FoldedTransformer:
    """The transformer at its times and with its prompt, with the attention that suits its device."""
    # cuDNN's is the fastest where it runs; others follow.
    attention = "cudnn" if model.device.type == "cuda" else "default"
    return FoldedTransformer(model, times, text, image_token, attention, _compiled(options))


def _compiled(options: EngineOptions) -> bool:
    """Whether to compile; what is compiled is kept from run to run, and not where a restart of the machine clears."""
    if options.compiled:
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(Path.home() / ".cache" / "dkt_ros" / "compiled"))
    return bool(options.compiled)

"""The DKT engine from the user's files and choices; ``dkt_engine`` is what it does."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from dkt_ros.engines import Engine, EngineCard, EngineOptions
from dkt_ros.engines.devices import chosen
from dkt_ros.engines.dkt_engine import WORKING_SIZE, DktEngine
from dkt_ros.engines.dkt_parts import find_dkt
from dkt_ros.engines.flow import times
from dkt_ros.engines.pictures import Axes, is_portrait, to_video
from dkt_ros.engines.prompts import load_prompt
from dkt_ros.engines.threads import use_threads
from dkt_ros.engines.wan_completion import (
    LIMIT,
    FlowPass,
    WanCompletionEngine,
    Working,
    completion_card,
    read_trained,
)
from dkt_ros.engines.wan_options import fold, make_codec, mode_and_profile, refuse_small_codec, tiny_roles
from dkt_ros.engines.weights import load_codec, load_transformer

#: Frames of a window and of what windows share: 21 and 3 latent frames as published; 6 and 1, the longest in training.
PROFILES = {"reference": (81, 9), "low_latency": (21, 1)}
#: As published; one is inaccurate, more lose detail.
STEPS = 5
#: How completion by DKT takes pictures: as DKT, at one size whatever their aspect, turned if they are higher than wide.
WORKING = Working(lambda frame, size: (size, is_portrait(frame)), to_video)


def load(options: EngineOptions) -> Engine:
    """Load DKT from a folder with its base, codec, LoRA and prompt embedding.

    A subfolder ``normal`` with the LoRA and the prompt embedding for normals adds normals: a second transformer on the
    same base. ``vae`` may ask for a small codec from the same folder. What training here wrote may lie among them, or
    come after the folder (see ``EngineOptions.weights``); where that is an adapter for completion, the engine reads
    sensor depth and gives no normals.

    Raises:
        ValueError: an option that this engine does not have.
        FileNotFoundError, CheckpointError: weights are missing, damaged, of another model, or not the only ones.
    """
    options.refuse("dkt", "stitching")
    mode, profile = mode_and_profile("dkt", options, PROFILES)
    axes = Axes.parse(options.normals_axes or "+x+y+z")
    steps = STEPS if options.steps is None else options.steps
    told = times(steps)
    if options.weights is None:
        raise ValueError(
            "engine 'dkt' needs weights: give their folder; 'dkt models fetch dkt-depth-1.3b --out DIR' gets them"
        )
    use_threads(options.threads)
    device, dtype = chosen(options)
    parts, pairs = find_dkt(options.weights, *tiny_roles(options))
    headers = [read_trained(lora) for lora, _ in pairs]
    completes, trained = "dkt completion" in parts, headers[0]
    if completes and mode != "streaming":
        raise ValueError(f"mode = {mode}: {pairs[0][0]} completes sensor depth clip by clip; leave it out")
    if completes:
        refuse_small_codec(options, pairs[0][0])
    vae = load_codec(parts["codec"], dtype, device)
    codec = make_codec(vae, parts.get("tiny codec"), options, device, dtype, LIMIT if completes else 1.0)
    transformers = []
    for lora, prompt in pairs[:1] if completes else pairs:
        model: Any = load_transformer(parts["transformer"], [lora], dtype, device)
        text = load_prompt(prompt, model.config.text_dim)
        transformers.append(fold(model, told, text, True, options))
    size = next((header.size for header in headers if header and header.size), WORKING_SIZE)
    if completes and trained:
        network = FlowPass(transformers[0], steps)
        return WanCompletionEngine(completion_card("dkt", trained), codec, network, WORKING, size)
    card = dkt_card(mode, profile, normals=len(transformers) > 1)
    if trained:
        card = replace(card, licence=trained.licence, description=trained.description)
    for header in headers[1:]:
        if header:
            card = replace(card, description=f"{card.description} Its normals: {header.description}")
    return DktEngine(card, codec, *transformers, steps=steps, single=mode == "single", size=size, axes=axes)


def dkt_card(mode: str, profile: str, normals: bool = False) -> EngineCard:
    """What callers are told about DKT in ``mode`` and ``profile``, with or without ``normals``."""
    length, overlap = PROFILES[profile]
    return EngineCard(
        name="dkt",
        kind="affine",
        # A recording that is one window has no length to choose.
        clip_lengths=(length,) if mode == "single" else tuple(range(1, 82, 4)),
        reads_sensor_depth=False,
        gives_normals=normals,
        licence="Apache-2.0",
        description=(
            "Relative disparity of transparent and reflective things in a video, and their normals where the folder "
            "holds that LoRA too: Wan 2.1 Fun-Control (1.3B or 14B), tuned by its authors on rendered glass, "
            "ClearGrasp and DREDS, at most 21 frames at once. It knows no metres and so needs sensor depth or another "
            "anchor. Which way its normals point is not published: check normals_axes. The licence is that of the "
            "published base and LoRA as we believe it; read their model cards. This engine agrees with the published "
            "code on tiny random weights; nobody has run it on the published ones yet."
        ),
        clip_length=length,
        overlap=overlap,
        whole_groups=True,
        whole_video=mode != "streaming",
    )

"""DepthLab (arXiv 2412.18153): a diffusion model that completes one picture's partial metric depth.

It fills strokes, shapes and shadows well, and objects poorly: what is missing as a whole object, such as a glass,
tends to the depth around it. It believes every known pixel. Tens of seconds a frame on a large GPU: for recordings.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from diffusers import DDIMScheduler
from torch import Tensor, nn

from dkt_ros.engines import EngineCard, EngineOptions
from dkt_ros.engines.depthlab_attention import Pair
from dkt_ros.engines.depthlab_networks import (
    load_denoiser,
    load_image_encoder,
    load_image_vae,
    load_mapping,
    load_reference,
)
from dkt_ros.engines.depthlab_prepare import MULTIPLE, DepthLabSettings, Prepared, prepare
from dkt_ros.engines.devices import chosen
from dkt_ros.engines.parts import LATENT_SCALE, find_parts
from dkt_ros.engines.threads import use_threads
from dkt_ros.frames import Clip, Float32, Prediction, UInt8

CARD = EngineCard(
    name="depthlab",
    kind="metric",
    clip_lengths=(1,),
    reads_sensor_depth=True,
    gives_normals=False,
    licence="Apache-2.0",
    description=(
        "DepthLab completes the metric depth of single pictures by diffusion; it needs some sensor depth in every "
        "frame and believes what it is given. Good on strokes and shapes; a missing object takes the depth around it. "
        "Trained on synthetic rooms and streets; nothing joins its frames in time."
    ),
    clip_length=1,
    overlap=0,
)
#: The picture's longest side when GPU memory is short, and not below.
SMALLER, SMALLEST = 0.75, 320
#: CLIP's picture statistics.
CLIP_MEAN = np.array([0.48145466, 0.4578275, 0.40821073], np.float32)
CLIP_STD = np.array([0.26862954, 0.26130258, 0.27577711], np.float32)


def load(options: EngineOptions) -> DepthLabEngine:
    """Read DepthLab's three networks, an image VAE and CLIP's picture half from a folder.

    Args:
        options: ``weights``, ``steps`` (50), ``device``, ``precision`` (of the UNets and CLIP; the VAE is float32) and
            ``threads`` are honoured.

    Raises:
        ValueError: no weights given, or an option that this engine does not have.
        FileNotFoundError, CheckpointError: a part is missing, damaged or another model's.
        ImportError: transformers or scipy is missing; the text names the extra.
    """
    options.refuse("depthlab", "profile", "mode", "vae", "compiled", "stitching", "normals_axes")
    if options.weights is None:
        raise ValueError("engine depthlab: no weights; give the folder that holds them (--weights DIR)")
    try:
        import scipy  # noqa: F401
    except ImportError as error:
        raise ImportError("engine depthlab needs scipy: pip install 'dkt_ros[models]'") from error
    settings = DepthLabSettings() if options.steps is None else DepthLabSettings(steps=options.steps)
    device, dtype = chosen(options)
    use_threads(options.threads)
    roles = ("depthlab denoiser", "depthlab reference", "depthlab mapping", "image vae", "image encoder")
    parts = {role: files[0] for role, files in find_parts(options.weights, *roles).items()}
    networks = Networks(
        Pair(
            load_reference(parts["depthlab reference"], dtype, device),
            load_denoiser(parts["depthlab denoiser"], dtype, device),
        ),
        load_mapping(parts["depthlab mapping"], dtype, device),
        load_image_vae(parts["image vae"], torch.float32, device),
        load_image_encoder(parts["image encoder"], dtype, device),
    )
    return DepthLabEngine(networks, settings, device)


@dataclass(frozen=True)
class Networks:
    """All that is read from files: UNets, CLIP to token, VAE (diffusers' AutoencoderKL), CLIP (transformers')."""

    pair: Pair
    mapping: nn.Linear
    vae: Any
    encoder: Any


class DepthLabEngine:
    """An ``Engine`` for single frames; metric, at the frame's own size, without negative depth.

    Known pixels come back changed by about half a percent of the known range (the VAE); fusion puts the sensor's own
    values where it is believed. The same frame always gets the same answer. One thread at a time.
    """

    def __init__(self, networks: Networks, settings: DepthLabSettings, device: torch.device) -> None:
        self.card = CARD
        self.settings = settings
        self._networks, self._device = networks, device
        self._scheduler = scheduler()
        self._longest: int | None = None
        self._worked = settings.processing_res
        self._offloads = False
        self._lock = threading.Lock()

    def predict(self, clip: Clip, trust: Float32 | None = None) -> Prediction:
        """See ``Engine.predict``. What is trusted below 0.5, or not returned, is predicted; the rest is known.

        Raises:
            ValueError: more than one frame, trust of another shape, or a frame without any known pixel.
        """
        frame = clip.frames[0]
        if len(clip.frames) != 1:
            raise ValueError(f"engine depthlab: a clip of {len(clip.frames)} frames; it takes single frames")
        if trust is not None and trust.shape != (1, *frame.rgb.shape[:2]):
            raise ValueError(f"engine depthlab: trust {trust.shape}; the clip is {(1, *frame.rgb.shape[:2])}")
        with self._lock, torch.no_grad():
            prepared = prepare(frame, None if trust is None else trust[0], self.settings, self._longest)
            self._worked = max(prepared.size)
            depth = self.complete(prepared, frame.rgb)
        if prepared.size != frame.size:
            depth = np.asarray(cv2.resize(depth, frame.size, interpolation=cv2.INTER_LINEAR), np.float32)
        disparity = (1.0 / np.maximum(depth, 1e-3)).astype(np.float32)  # finite where it says 0 m
        return Prediction(disparity[None], kind="metric", same_units=True)

    def complete(self, prepared: Prepared, rgb: UInt8) -> Float32:
        """(h, w) float32 metres without the padding, 0 or more; ``rgb`` is the whole picture, for CLIP."""
        networks = self._networks
        vae = self._placed(networks.vae)
        picture = self._latent(vae, torch.from_numpy(prepared.rgb).permute(2, 0, 1))
        mask = self._latent(vae, _grey(prepared.mask * 2 - 1))
        partial = self._latent(vae, _grey(prepared.partial))
        start = self._latent(vae, _grey(prepared.start))
        token = self._token(rgb)
        try:
            self._placed(networks.pair.reference)
            networks.pair.look(picture.to(token.dtype), token)
            self._placed(networks.pair.denoiser)
            latent = self._denoise(token, mask, partial, start, _known_cells(prepared.mask).to(self._device))
        finally:
            networks.pair.forget()
        decoded = self._placed(networks.vae).decode(latent / LATENT_SCALE, return_dict=False)[0].mean(dim=1)[0]
        width, height = prepared.size
        return prepared.limits.restore(decoded[:height, :width].cpu().numpy())

    def smaller(self) -> str | None:
        """Need less GPU memory from now on; what was given up in words, or None if nothing is left to give up."""
        longest = min(self._worked, self._longest or self._worked)
        if longest > SMALLEST:
            self._longest = max(SMALLEST, int(longest * SMALLER) // MULTIPLE * MULTIPLE)
            return f"works at {self._longest} pixels a side at most instead of {longest}"
        if self._offloads or self._device.type == "cpu":
            return None
        self._offloads = True
        return "keeps each network in CPU memory while another works"

    def _denoise(self, token: Tensor, mask: Tensor, partial: Tensor, start: Tensor, known: Tensor) -> Tensor:
        settings, sampler = self.settings, self._scheduler
        times = start_times(sampler, settings.steps, settings.strength)
        generator = torch.Generator().manual_seed(settings.seed)
        noise = torch.randn(start.shape, generator=generator).to(self._device)
        latent = noise if settings.strength == 1 else sampler.add_noise(start, noise, times[:1])
        for i, time in enumerate(times.tolist()):
            given = torch.cat([latent, mask, partial], dim=1).to(token.dtype)
            velocity = self._networks.pair.denoise(given, time, token).float()
            latent = sampler.step(velocity, time, latent, return_dict=False)[0]
            if settings.blend:
                later = times[i + 1 : i + 2]
                held = sampler.add_noise(start, noise, later) if len(later) else start
                latent = torch.where(known, held, latent)
        return latent

    def _latent(self, vae: Any, picture: Tensor) -> Tensor:
        """(3, h, w) in [-1, 1] -> (1, 4, h/8, w/8) float32: the posterior's mean."""
        posterior = vae.encode(picture[None].to(self._device), return_dict=False)[0]
        return posterior.mean * LATENT_SCALE

    def _token(self, rgb: UInt8) -> Tensor:
        encoder = self._placed(self._networks.encoder)
        pixels = clip_picture(rgb, encoder.config.image_size).to(self._device, encoder.dtype)
        return self._placed(self._networks.mapping)(encoder(pixels).image_embeds)[:, None]

    def _placed(self, network: Any) -> Any:
        """The network, on the device; while memory is short, the other large ones are not."""
        if self._offloads:
            ours = self._networks
            for other in (ours.pair.reference, ours.pair.denoiser, ours.vae, ours.encoder):
                other.to(self._device if other is network else "cpu")
        return network


def scheduler() -> Any:
    """Marigold's sampler: DDIM on Stable Diffusion's noise, velocity, leading steps offset by 1, no rescaling."""
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        timestep_spacing="leading",
    )


def start_times(sampler: Any, steps: int, strength: float) -> Tensor:
    """The times to call the network at, falling: the last ``int(steps * strength)`` of ``steps``."""
    sampler.set_timesteps(steps)
    times: Tensor = sampler.timesteps[steps - min(int(steps * strength), steps) :]
    return times


def clip_picture(rgb: UInt8, side: int) -> Tensor:
    """CLIP's own preprocessing: shorter side to ``side``, the middle cut out (a wide picture loses its sides).

    Returns:
        (1, 3, side, side) float32, minus CLIP's mean, over its deviation.
    """
    from PIL import Image

    height, width = rgb.shape[:2]
    short = min(height, width)
    size = (side * width // short, side * height // short)
    picture = np.asarray(Image.fromarray(rgb).resize(size, Image.Resampling.BICUBIC))
    left, top = (size[0] - side) // 2, (size[1] - side) // 2
    cut = picture[top : top + side, left : left + side].astype(np.float32) / 255
    return torch.from_numpy((cut - CLIP_MEAN) / CLIP_STD).permute(2, 0, 1)[None]


def _grey(plane: Float32) -> Tensor:
    return torch.from_numpy(plane).expand(3, -1, -1)


def _known_cells(mask: Float32) -> Tensor:
    """(1, 1, h/8, w/8) bool: latent cells whose nearest pixel is known."""
    return torch.from_numpy(mask[::MULTIPLE, ::MULTIPLE] == 0)[None, None]

"""DepthLab's two networks as stock diffusers UNets: one reads what the other's self-attention saw.

The reference network sees the picture once. Every self-attention layer (``attn1``, 16 in the published size) of the
denoising network attends to its own tokens and to those that the layer of the same name kept there. This equals the
published formulation's conditional half; its unconditional half is computed there and thrown away, and is not here.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor2_0
from torch import Tensor


class Pair:
    """A reference UNet and a denoising UNet of the same sizes, with the processors that join them.

    Args:
        reference: 4 channels in (the picture's latent).
        denoiser: 12 channels in: noisy depth, mask and masked depth, 4 each.

    Raises:
        ValueError: their self-attention layers differ.
    """

    reference: Any
    denoiser: Any

    def __init__(self, reference: UNet2DConditionModel, denoiser: UNet2DConditionModel) -> None:
        self.reference, self.denoiser = reference, denoiser
        self._kept: dict[str, Tensor] = {}
        written = self._join(reference, _Keep)
        read = self._join(denoiser, _Read)
        if written != read:
            raise ValueError(
                f"the reference network has {len(written)} self-attention layers, the denoising network {len(read)}, "
                f"and they differ in {sorted(written ^ read)[:3]}; give two networks of one model"
            )
        self.layers = len(read)

    def look(self, picture: Tensor, token: Tensor) -> None:
        """Run the reference network on a picture's latent (1, 4, h, w), at time 0, and keep what its layers saw.

        ``token`` is (1, 1, D), the picture's embedding; ``denoise`` takes the same one.
        """
        self._kept.clear()
        self.reference(picture, 0, token)

    def denoise(self, latents: Tensor, time: int, token: Tensor) -> Tensor:
        """One call of the denoising network: (1, 12, h, w) -> (1, 4, h, w).

        Raises:
            ValueError: there was no ``look`` at the picture before.
        """
        if not self._kept:
            raise ValueError("the reference network has not looked at the picture yet; call look first")
        output: Tensor = self.denoiser(latents, time, token, return_dict=False)[0]
        return output

    def forget(self) -> None:
        """Let go of what was kept."""
        self._kept.clear()

    def _join(self, unet: Any, kind: type[_Keep] | type[_Read]) -> set[str]:
        names = {name for name in unet.attn_processors if name.endswith(".attn1.processor")}
        joined = {name: kind(name, self._kept) for name in names}
        unet.set_attn_processor({name: joined.get(name, AttnProcessor2_0()) for name in unet.attn_processors})
        return names


class _Keep:
    """Ordinary self-attention that keeps its input."""

    def __init__(self, name: str, kept: dict[str, Tensor]) -> None:
        self._name, self._kept, self._attend = name, kept, AttnProcessor2_0()

    def __call__(self, attn: Any, hidden_states: Tensor, *rest: Any, **options: Any) -> Tensor:
        self._kept[self._name] = hidden_states
        return self._attend(attn, hidden_states, *rest, **options)


class _Read:
    """Self-attention whose keys and values are its own tokens and then those that were kept under its name."""

    def __init__(self, name: str, kept: dict[str, Tensor]) -> None:
        self._name, self._kept, self._attend = name, kept, AttnProcessor2_0()

    def __call__(
        self, attn: Any, hidden_states: Tensor, encoder_hidden_states: Tensor | None = None, *rest: Any, **options: Any
    ) -> Tensor:
        both = torch.cat([hidden_states, self._kept[self._name]], dim=1)
        return self._attend(attn, hidden_states, both, *rest, **options)

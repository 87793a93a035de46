"""Flow matching as DKT samples it: noise levels, times, Euler steps, and the start noise of a whole recording.

A latent at level ``sigma`` is ``(1 - sigma) * clean + sigma * noise``; the transformer predicts the velocity
``noise - clean``. Formulas: facts of DKT (arXiv 2512.23705), which uses Wan's flow with shift 5.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

#: How far the levels are pushed toward noise; the time that stands for level 1.
SHIFT, NOISE_TIME = 5.0, 1000.0
#: The published generator's seed.
SEED = 1
#: torch fills a normal tensor in groups of this many values, each from as many draws.
_GROUP = 16


def sigmas(steps: int) -> list[float]:
    """``steps + 1`` noise levels, from 1 down to 0: ``5 u / (1 + 4 u)`` for u = 1, 1 - 1/steps, ..., 0.

    Raises:
        ValueError: fewer than one step.
    """
    if steps < 1:
        raise ValueError(f"steps = {steps}: must be at least 1; 5 is the published number")
    even = torch.linspace(1, 0, steps + 1)
    return [float(level) for level in SHIFT * even / (1 + (SHIFT - 1) * even)]


def times(steps: int, rounded: bool = True) -> list[float]:
    """The time that the transformer is told at each step: 1000 sigma.

    ``rounded`` gives the nearest bfloat16, as in training and in the published pipeline on a GPU; that matters more
    than all other effects of bfloat16 together.
    """
    exact = torch.tensor(sigmas(steps)[:-1]) * NOISE_TIME
    return [float(time) for time in (exact.bfloat16() if rounded else exact)]


def euler(latents: Tensor, velocity: Tensor, level: float, after: float) -> Tensor:
    """Latents at noise level ``after`` from those at ``level``; any shape, a new tensor of the latents' dtype."""
    return latents + velocity * (after - level)


class StartNoise:
    """``torch.randn((1, C, T, h, w))`` of a seeded CPU generator, handed out along T without being held.

    The values lie channel by channel, so every channel has a generator of its own that stands at the channel's next
    value. torch draws normal values in groups of 16, each a function of 16 draws, wherever the number of all values
    is a multiple of 16 (which 16 channels make it); otherwise the whole tensor is drawn at once and held.

    Args:
        channels, frames, height, width: C, T, h and w above.
        seed: of the generator.
    """

    def __init__(self, channels: int, frames: int, height: int, width: int, seed: int = SEED) -> None:
        self._shape = (channels, height, width)
        self._left = frames
        generator = torch.Generator().manual_seed(seed)
        each = frames * height * width
        self._whole: Tensor | None = None
        if channels * each % _GROUP:
            self._whole = torch.randn((1, channels, frames, height, width), generator=generator)
            return
        self._channels, at = [], 0
        for channel in range(channels):
            start = channel * each // _GROUP * _GROUP
            _skip(generator, start - at)
            here = torch.Generator().set_state(generator.get_state())
            self._channels.append(_Channel(here, channel * each - start))
            at = start

    def take(self, frames: int) -> Tensor:
        """The next latent frames: (1, C, frames, h, w) float32 on the CPU.

        Raises:
            ValueError: more than are left.
        """
        if frames > self._left:
            raise ValueError(f"start noise of {frames} more latent frames: {self._left} are left")
        self._left -= frames
        channels, height, width = self._shape
        if self._whole is not None:
            taken, self._whole = self._whole[:, :, :frames], self._whole[:, :, frames:]
            return taken
        count = frames * height * width
        rows = [channel.take(count) for channel in self._channels]
        return torch.stack(rows).reshape(1, channels, frames, height, width)


class ClipNoise:
    """Start noise of successive clips of one stream: a latent frame that two clips share keeps its noise.

    A first clip gets the noise that the published pipeline gives a video of that length.
    """

    def __init__(self, seed: int = SEED) -> None:
        self._seed = seed
        self._generator = torch.Generator()
        self._newest = torch.empty(0)

    def next(self, shape: Sequence[int], shared: int) -> Tensor:
        """float32 noise of ``shape`` (1, C, t, h, w) on the CPU; its first ``shared`` frames are the last ones before.

        ``shared`` = 0 starts anew.
        """
        batch, channels, frames, height, width = shape
        if not shared:
            self._generator.manual_seed(self._seed)
        fresh = torch.randn((batch, channels, frames - shared, height, width), generator=self._generator)
        kept = self._newest[:, :, self._newest.shape[2] - shared :] if shared else fresh[:, :, :0]
        self._newest = torch.cat([kept, fresh], dim=2)
        return self._newest


class _Channel:
    """Normal values of one generator one after the other; the first ``skip`` (below 16) belong to another channel."""

    def __init__(self, generator: torch.Generator, skip: int) -> None:
        self._generator = generator
        self._rest = torch.randn(_GROUP, generator=generator)[skip:] if skip else torch.empty(0)

    def take(self, count: int) -> Tensor:
        missing = count - len(self._rest)
        if missing > 0:
            groups = -(-missing // _GROUP)
            self._rest = torch.cat([self._rest, torch.randn(groups * _GROUP, generator=self._generator)])
        # Cloned: a view would keep all of what it was cut from.
        taken, self._rest = self._rest[:count], self._rest[count:].clone()
        return taken


def _skip(generator: torch.Generator, count: int, at_once: int = 1 << 20) -> None:
    """Move a generator on by ``count`` normal values, a multiple of 16."""
    while count:
        now = min(count, at_once)
        torch.randn(now, generator=generator)
        count -= now

"""The windows of DKT over latent time: where they lie, how their velocities are joined, in which order they run.

Every denoising step cross-fades the velocities of all windows and then moves the whole recording, so that no window is
ready before all have done the same step. But a stretch of the recording is ready for its next step as soon as the
windows that reach into it are: the steps run one behind the other along the recording, and only the stretch between
the first step and the last is held.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from torch import Tensor

#: A stretch of latents and of what they are conditioned on: (B, C, t, h, w) and (B, D, t, h, w).
Stretch = tuple[Tensor, Tensor]
Window = tuple[int, int]


def latent_windows(length: int, window: int, overlap: int) -> list[Window]:
    """Half-open [start, stop) over ``length`` latent frames; the last is shorter where the length asks for it.

    Raises:
        ValueError: the overlap is negative or not below the window, or a length or window below 1.
    """
    if length < 1 or window < 1:
        raise ValueError(f"{length} latent frames in windows of {window}: both must be at least 1")
    if not 0 <= overlap < window:
        raise ValueError(
            f"windows of {window} latent frames that share {overlap}: the overlap must be below the window (4 frames "
            f"of the video are one latent frame); give at most {window - 1} or a longer window"
        )
    starts = range(0, max(length - overlap, 1), window - overlap)
    return [(start, min(start + window, length)) for start in starts]


def window_weights(window: Window, length: int, overlap: int) -> Tensor:
    """(t,) float32 weight of a window's frames: ramps of ``overlap`` frames where it does not begin or end the video.

    A ramp is (i + 0.5) / overlap. Where both meet (an overlap over half the window) the falling one is used.
    """
    start, stop = window
    weights = torch.ones(stop - start)
    ramp = (torch.arange(overlap) + 0.5) / max(overlap, 1)
    if start > 0 and overlap:
        weights[:overlap] = ramp
    if stop < length and overlap:
        weights[-overlap:] = ramp.flip(0)
    return weights


def windowed_step(
    stretches: Iterator[Stretch],
    windows: Sequence[Window],
    overlap: int,
    velocity: Callable[[Tensor, Tensor], Tensor],
    advance: Callable[[Tensor, Tensor], Tensor],
) -> Iterator[Stretch]:
    """One denoising step over a recording that comes, and goes, in stretches.

    Args:
        stretches: latents and condition, successive, of any lengths.
        windows: of ``latent_windows``; the last one's stop is the number of latent frames.
        overlap: of the windows.
        velocity: of one window's latents and condition, (B, C, t, h, w).
        advance: latents and joined velocity -> latents after the step.

    Yields:
        One stretch per window: what no later window reaches. The joined velocity is ``sum(weight * velocity) /
        sum(weight)`` over the windows in order, in the velocity's own dtype.
    """
    length = windows[-1][1]
    latents, condition = next(stretches)
    total, weight = torch.empty(0), torch.empty(0)
    for index, (start, stop) in enumerate(windows):
        latents, condition = _until(stop - start, latents, condition, stretches)
        x, y = latents[:, :, : stop - start], condition[:, :, : stop - start]
        found = velocity(x, y)
        weights = window_weights((start, stop), length, overlap).to(found)[None, None, :, None, None]
        total = _added(total, found * weights)
        weight = _added(weight, weights)
        done = (windows[index + 1][0] if index + 1 < len(windows) else stop) - start
        yield advance(x[:, :, :done], total[:, :, :done] / weight[:, :, :done]), y[:, :, :done].clone()
        # Cloned: a view would keep all of what it was cut from.
        total, weight = total[:, :, done:].clone(), weight[:, :, done:].clone()
        latents, condition = latents[:, :, done:].clone(), condition[:, :, done:].clone()


def windowed_steps(
    stretches: Iterable[Stretch],
    windows: Sequence[Window],
    overlap: int,
    velocities: Sequence[Callable[[Tensor, Tensor], Tensor]],
    advances: Sequence[Callable[[Tensor, Tensor], Tensor]],
) -> Iterator[Stretch]:
    """All denoising steps, one behind the other (see ``windowed_step``); the same numbers as one step after the other.

    Holds at most about ``window + (window - overlap) * steps`` latent frames and as much condition, however long the
    recording is.
    """
    flow = iter(stretches)
    for velocity, advance in zip(velocities, advances, strict=True):
        flow = windowed_step(flow, windows, overlap, velocity, advance)
    return flow


def _until(length: int, latents: Tensor, condition: Tensor, stretches: Iterator[Stretch]) -> Stretch:
    """What is held and what comes next, together at least ``length`` frames."""
    held = [(latents, condition)]
    count = latents.shape[2]
    while count < length:
        held.append(next(stretches))
        count += held[-1][0].shape[2]
    if len(held) == 1:
        return latents, condition
    return torch.cat([pair[0] for pair in held], dim=2), torch.cat([pair[1] for pair in held], dim=2)


def _added(before: Tensor, values: Tensor) -> Tensor:
    """``values`` with what earlier windows left at their first frames."""
    if before.numel():
        values[:, :, : before.shape[2]] += before
    return values

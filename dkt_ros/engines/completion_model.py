"""The network of the completion engine: RGB, filled partial disparity and trust in, disparity and normals out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dkt_ros.engines.wan import WanCore, WanSizes

#: Slope of the gate: a decoded -1 / +1 means keep / replace the filled sensor to within 2 %.
GATE_SLOPE = 4.0


@dataclass(frozen=True)
class Completed:
    """What the network says, all float32.

    Attributes:
        disparity: (B, T, H, W) in the clip's normalised units: ``filled + gate * (surface - filled)``.
        surface: (B, T, H, W) the network's own disparity everywhere.
        gate_logit: (B, T, H, W); its sigmoid is how far the filled sensor is replaced.
        normals: (B, 3, T, H, W) unit vectors.
    """

    disparity: Tensor
    surface: Tensor
    gate_logit: Tensor
    normals: Tensor


class Condition(NamedTuple):
    """Input of the network, float32.

    Attributes:
        rgb: (B, 3, T, H, W) in [-1, 1].
        filled: (B, T, H, W) normalised disparity without holes, 0 everywhere where a clip has no sensor.
        trust: (B, T, H, W) 0..1.
    """

    rgb: Tensor
    filled: Tensor
    trust: Tensor


def fold_trust(trust: Tensor, cell: int, group: int) -> Tensor:
    """(B, T, H, W) -> (B, group, t, h, w): area means over cells, the frames of a group as channels.

    The first frame, alone in its group, is repeated (the rule of Wan's image-to-video mask).
    """
    b, t, h, w = trust.shape
    cells = F.avg_pool2d(trust, cell)
    frames = torch.cat([cells[:, :1].repeat(1, group - 1, 1, 1), cells], dim=1)
    return frames.view(b, (t + group - 1) // group, group, h // cell, w // cell).transpose(1, 2)


class CompletionModel(nn.Module):
    """``WanCore`` with the completion's input and output.

    The filled disparity is encoded as a video of (disparity, distrust, disparity). The transformer predicts what to
    add to that latent, and the normals' latent. Its last layer starts at zero, so the untrained network returns the
    codec's copy of its input. Decoded, the middle channel says where the filled sensor is to be replaced: where it is
    right, it passes through unharmed by the codec.
    """

    def __init__(self, sizes: WanSizes) -> None:
        super().__init__()
        z = int(sizes.codec["z_dim"])
        wanted = (2 * z + sizes.group, 2 * z)
        given = (sizes.transformer["in_channels"], sizes.transformer["out_channels"])
        if given != wanted:
            raise ValueError(f"transformer in/out channels {given}: a completion with z_dim {z} needs {wanted}")
        self.core = WanCore(sizes)
        nn.init.zeros_(self.core.transformer.proj_out.weight)
        nn.init.zeros_(self.core.transformer.proj_out.bias)

    def forward(self, condition: Condition) -> Completed:
        rgb, filled, trust = condition
        batch = rgb.shape[0]
        latents = self.core.encode(torch.cat([rgb, sensor_video(filled, trust)]))
        rgb_latent, sensor_latent = latents[:batch], latents[batch:]
        folded = fold_trust(trust, self.core.sizes.cell, self.core.sizes.group)
        out = self.core.denoise(torch.cat([rgb_latent, sensor_latent, folded], dim=1))
        change, normals_latent = out.chunk(2, dim=1)
        decoded = self.core.decode(torch.cat([sensor_latent + change, normals_latent]))
        return self.read(decoded[:batch], decoded[batch:], filled)

    @staticmethod
    def read(disparity_video: Tensor, normals_video: Tensor, filled: Tensor) -> Completed:
        """Two decoded videos (B, 3, T, H, W) and the filled disparity (B, T, H, W) -> the answer."""
        surface = 0.5 * (disparity_video[:, 0] + disparity_video[:, 2])
        logit = GATE_SLOPE * disparity_video[:, 1]
        disparity = filled + torch.sigmoid(logit) * (surface - filled)
        return Completed(disparity, surface, logit, F.normalize(normals_video, dim=1, eps=1e-4))


def sensor_video(filled: Tensor, trust: Tensor) -> Tensor:
    """(B, T, H, W) twice -> (B, 3, T, H, W): disparity, distrust in [-1, 1], disparity."""
    return torch.stack([filled, 1.0 - 2.0 * trust, filled], dim=1)

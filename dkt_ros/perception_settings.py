"""What a user may change about the path from clips to estimates, and which clips suit an engine."""

from __future__ import annotations

from dataclasses import dataclass, field

from dkt_ros import fusion, metric
from dkt_ros.engines import EngineCard


@dataclass(frozen=True)
class PerceptionSettings:
    """What a user may change about the path; plain values, so that node parameters map onto it.

    Attributes:
        clip_length: frames in a clip, 4n+1; one that the engine accepts. None takes the one that suits it best.
        overlap: frames that a clip shares with the one before it; None as above.
        use_sensor_depth: False ignores the sensor altogether (relative disparity, unless another anchor is set).
        trust: which sensor values are believed, see ``metric.TrustSettings``.
        scale: how relative disparity becomes metres, see ``metric.ScaleSettings``.
        fusion: how sensor and model are joined, see ``fusion.FusionSettings``.
    """

    clip_length: int | None = None
    overlap: int | None = None
    use_sensor_depth: bool = True
    trust: metric.TrustSettings = field(default_factory=metric.TrustSettings)
    scale: metric.ScaleSettings = field(default_factory=metric.ScaleSettings)
    fusion: fusion.FusionSettings = field(default_factory=fusion.FusionSettings)


def window(card: EngineCard, length: int | None, overlap: int | None) -> tuple[int, int]:
    """Frames of a clip and of its overlap: as asked for, or as the card has them.

    Raises:
        ValueError: they do not suit the engine or each other.
    """
    if length is None:
        length = card.clip_length
    if overlap is None:
        overlap = max(1, min(card.overlap, length - 4))
    if length not in card.clip_lengths:
        accepted = ", ".join(map(str, card.clip_lengths))
        raise ValueError(f"clip_length {length}: engine {card.name!r} accepts {accepted}")
    if length == 1:
        return length, 0
    if not 1 <= overlap < length:
        raise ValueError(f"overlap {overlap}: must be at least 1 and below clip_length {length}")
    if card.whole_groups and overlap % 4 != 1:
        near = max(1, (overlap - 1) // 4 * 4 + 1)
        raise ValueError(f"overlap {overlap}: engine {card.name!r} keeps groups of four frames, so take {near}")
    return length, overlap

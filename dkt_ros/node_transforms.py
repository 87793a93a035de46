"""The frames that parameters name: one source of transforms for clouds, workspace and table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from dkt_ros.frames import Plane
from dkt_ros.node_settings import FrameSettings
from dkt_ros.plane import plane_from_matrix
from dkt_ros.transforms import TfTransforms, TransformMissing, Transforms, make_transforms


class NodeTransforms:
    """Listens to TF only while a parameter names a frame, and never where static_extrinsics stands in for it.

    Args:
        node: the rclpy node.
        report: called with (reason, text) where a transform is missing.

    Attributes:
        source: whom to ask; None while no frame is named.
    """

    def __init__(self, node: Any, report: Callable[[str, str], None]) -> None:
        self._node, self._report = node, report
        self.source: Transforms | None = None
        self._settings = FrameSettings("", "", "", ())

    def update(self, settings: FrameSettings) -> None:
        """Follow the parameters; an unchanged source is kept with all that it has heard.

        Raises:
            ValueError: static_extrinsics that are no pose, or more frames than they describe; nothing is changed then.
            ImportError: TF is needed and not installed; nothing is changed then.
        """
        if not settings.named:
            self.close()
        elif settings.extrinsics or not isinstance(self.source, TfTransforms):
            found = make_transforms(self._node, settings.extrinsics, settings.named)
            self.close()
            self.source = found
        self._settings = settings

    def plane(self, frame_id: str, stamp_ns: int) -> Plane | None:
        """The table in the optical frame at a moment; None if no parameter names it, or nobody knows where it is."""
        table = self._settings.plane
        if not table or self.source is None:
            return None
        try:
            # asked the way round that static_extrinsics, the camera's pose, can answer
            to_table = self.source.lookup(table, frame_id, stamp_ns)
            return plane_from_matrix(np.linalg.inv(to_table))
        except (TransformMissing, ValueError) as error:
            self._report("TF missing", f"scale.plane_frame: {error}")
            return None

    def plane_settled(self, frame_id: str, stamp_ns: int) -> bool:
        """Whether ``plane`` needs no further transforms, which may be on their way yet."""
        if not self._settings.plane or self.source is None:
            return True
        try:
            self.source.lookup(self._settings.plane, frame_id, stamp_ns)
        except (TransformMissing, ValueError):
            return False
        return True

    def clear(self) -> None:
        """Time went back: forget what moved, or older transforms would be ignored."""
        if self.source is not None:
            self.source.clear()

    def close(self) -> None:
        """Stop listening."""
        if isinstance(self.source, TfTransforms):
            self.source.close()
        self.source = None

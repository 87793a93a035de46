"""The grasps of the demo: what came back from the grasp node, in numbers and as lines in the picture."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dkt_ros import messages
from dkt_ros.exchange import Exchange
from dkt_ros.frames import Intrinsics
from dkt_ros.grasp_messages import jaw_lines, read_details
from dkt_ros.grasps import Grasps, Gripper

NODE = "/antipodal_grasps"
POSES, DETAILS = f"{NODE}/grasps", f"{NODE}/grasps/details"
OUTPUTS = {POSES: "geometry_msgs/msg/PoseArray", DETAILS: "sensor_msgs/msg/PointCloud2"}


@dataclass(frozen=True)
class GraspTiming:
    """How the grasp node kept up.

    Attributes:
        clouds: planned on.
        with_grasps: of them gave at least one.
        rate_hz: of the answers; 0 for fewer than two.
        age_median_s: from publishing a picture to receiving grasps on its cloud; 0 without any.
        most: grasps in one cloud.
        best_median: score of the best grasp, median over the clouds that have one.
    """

    clouds: int
    with_grasps: int
    rate_hz: float
    age_median_s: float
    most: int
    best_median: float

    def __str__(self) -> str:
        if not self.clouds:
            return "grasps: none came back; the grasp node got no cloud"
        return (
            f"grasps on {self.with_grasps} of {self.clouds} clouds at {self.rate_hz:.1f} Hz, up to {self.most} in one,"
            f" best score {self.best_median:.2f} in the median; age median {self.age_median_s:.2f} s"
        )


def grasps_of(exchange: Exchange) -> dict[int, Grasps]:
    """Stamp of the cloud, ns -> what was planned on it."""
    heard = exchange.received
    decoded = (heard.decode(message) for message in heard.messages([DETAILS]))
    return {messages.stamp_ns(message): read_details(message) for message in decoded}


def timing_of(exchange: Exchange) -> GraspTiming:
    """Counts, rate, age and scores of an exchange."""
    found = grasps_of(exchange)
    some = [grasps for grasps in found.values() if len(grasps)]
    times = exchange.received.arrivals(DETAILS)
    ages = [(time - exchange.sent[stamp]) * 1e-9 for stamp, time in times.items() if stamp in exchange.sent]
    spent = (max(times.values(), default=0) - min(times.values(), default=0)) * 1e-9
    return GraspTiming(
        clouds=len(found),
        with_grasps=len(some),
        rate_hz=(len(times) - 1) / spent if spent else 0.0,
        age_median_s=statistics.median(ages) if ages else 0.0,
        most=max((len(grasps) for grasps in some), default=0),
        best_median=float(np.median([grasps.score[0] for grasps in some])) if some else 0.0,
    )


def drawn(grasps: Grasps, camera: Intrinsics, gripper: Gripper | None = None) -> NDArray[np.float64]:
    """(G, K, 2, 2) float64: ends (u, v) of the K lines that draw a jaw, for the best grasp of each object, best first.

    Args:
        grasps: in the optical frame, in front of the camera.
    """
    jaws = []
    _, best = np.unique(grasps.thing, return_index=True)
    for index in sorted(best):
        pose = grasps.pose[index]
        ends = jaw_lines(float(grasps.width[index]), gripper or Gripper()) @ pose[:3, :3].T + pose[:3, 3]
        if (ends[:, 2] > 0.01).all():
            u, v = camera.fx * ends[:, 0] / ends[:, 2] + camera.cx, camera.fy * ends[:, 1] / ends[:, 2] + camera.cy
            jaws.append(np.stack([u, v], -1).reshape(-1, 2, 2))
    return np.array(jaws).reshape(len(jaws), -1, 2, 2)

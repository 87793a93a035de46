"""The frames of one camera of a bag: pictures with depth and intrinsics joined by stamp."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple, TypeVar

import numpy as np

from dkt_ros import messages
from dkt_ros.bag_join import Int64, Joined, Plan, Track, follow_plan, make_plan, nearest
from dkt_ros.bag_topics import CameraTopics
from dkt_ros.bags import Bag, BagError, RawMessage
from dkt_ros.frames import Float32, Frame, Intrinsics

T = TypeVar("T")


class Infos:
    """The camera_info of one topic. A camera that changes while it is recorded is followed.

    A picture gets the camera_info nearest to it in stamp, however far: also those before the first one. Unusable ones
    are left out and counted.
    """

    def __init__(self) -> None:
        self._track = Track()
        self._cameras: list[Intrinsics] = []
        self._which = array("q")

    def add(self, bag: Bag, raw: RawMessage, skipped: Counter[str]) -> None:
        """The next one."""
        message = _decoded(partial(bag.decode, raw), raw.topic, skipped)
        if message is None:
            return
        camera = _decoded(partial(messages.decode_intrinsics, message, raw.topic), raw.topic, skipped)
        if camera is None:
            return
        if not self._cameras or camera != self._cameras[-1]:
            self._cameras.append(camera)
        self._track.add(raw)
        self._which.append(len(self._cameras) - 1)

    def of(self, plan: Plan) -> tuple[Int64, int]:
        """(N,) number of the camera of each step of a plan, -1 without any; and how many came before the first."""
        if not self._which:
            return np.full(len(plan), -1, np.int64), 0
        ours, theirs = (plan.stamps, self._track.stamps) if self._track.stamped else (plan.times, self._track.times)
        which = np.frombuffer(self._which, np.int64)[nearest(ours, theirs)]
        return which, int(np.count_nonzero(ours < theirs.min()))

    def __getitem__(self, which: int) -> Intrinsics | None:
        return self._cameras[which] if which >= 0 else None


@dataclass(frozen=True)
class Survey:
    """What is known of a camera's frames before one of them is decoded.

    Attributes:
        topics: of the camera.
        plan: what belongs together.
        infos, depth_infos: camera_info of the picture and of the depth; ``info_of``, ``depth_info_of``: (N,) which.
        odd: what is not as it should be, in words with topic and value -> how often.
    """

    topics: CameraTopics
    plan: Plan
    infos: Infos
    info_of: Int64
    depth_infos: Infos
    depth_info_of: Int64
    odd: Counter[str] = field(default_factory=Counter)


class Moment(NamedTuple):
    """A frame and what else was asked for: topic -> message."""

    frame: Frame
    others: dict[str, RawMessage]


def survey(bag: Bag, topics: CameraTopics, slop_s: float = 0.02, others: Mapping[str, float] | None = None) -> Survey:
    """Look at the stamps of a camera's topics.

    Args:
        bag: an open bag.
        topics: of the camera.
        slop_s: largest difference of stamps between a picture and its depth.
        others: topic -> largest difference of stamps, of what else belongs to the pictures.
    """
    slops = {**(others or {}), **({topics.depth: slop_s} if topics.depth else {})}
    tracks = {topic: Track() for topic in (topics.image, *slops)}
    infos, depth_infos, odd = Infos(), Infos(), Counter[str]()
    for raw in bag.messages({*tracks, *topics.names()}):
        if raw.topic in tracks:
            tracks[raw.topic].add(raw)
        if raw.topic == topics.camera_info:
            infos.add(bag, raw, odd)
        if raw.topic == topics.depth_info:
            depth_infos.add(bag, raw, odd)
    plan = make_plan(tracks, topics.image, slops, odd)
    info_of, early = infos.of(plan)
    if early:
        odd[f"{topics.camera_info}: a picture before the first camera_info, gets its intrinsics"] += early
    if without := int(np.count_nonzero(info_of < 0)):
        odd[f"{topics.camera_info or topics.image}: a picture without camera_info, no points and no normals"] += without
    return Survey(topics, plan, infos, info_of, depth_infos, depth_infos.of(plan)[0], odd)


def read_moments(bag: Bag, known: Survey, skipped: Counter[str]) -> Iterator[Moment]:
    """The frames of a survey, in the order of their stamps, in bounded memory.

    Depth of another size is brought to the picture's size by the nearest value (no depth is invented). As in the node,
    depth of another frame_id is left out unless it has the picture's size and camera. What cannot be used is skipped
    and counted in ``skipped`` under its reason in words (topic, value, remedy).
    """
    skipped.update(known.odd)
    for joined in follow_plan(bag, known.plan):
        topic = known.topics.image
        picture = _decoded(partial(bag.decode, joined.message), topic, skipped)
        rgb = None if picture is None else _decoded(partial(messages.decode_rgb, picture, topic), topic, skipped)
        if picture is None or rgb is None:
            continue
        height, width = rgb.shape[:2]
        camera = known.infos[int(known.info_of[joined.step])]
        if camera is not None and (camera.width, camera.height) != (width, height):
            sizes = f"is for {camera.width}x{camera.height}, {topic} is {width}x{height}"
            skipped[f"{known.topics.camera_info}: {sizes}; its intrinsics are scaled"] += 1
            camera = camera.resized(width, height)
        depth = _depth(bag, known, joined, picture.header.frame_id, camera, (height, width), skipped)
        stamp = int(known.plan.stamps[joined.step])
        yield Moment(Frame(stamp, picture.header.frame_id, rgb, camera, depth), joined.companions)


def _depth(
    bag: Bag,
    known: Survey,
    joined: Joined,
    frame_id: str,
    camera: Intrinsics | None,
    shape: tuple[int, int],
    skipped: Counter[str],
) -> Float32 | None:
    """The depth of one picture, on its pixels."""
    topic = known.topics.depth
    if topic is None:
        return None
    if topic not in joined.companions:
        skipped[f"{topic}: no depth near enough to a picture, which goes without depth (--slop)"] += 1
        return None
    message = _decoded(partial(bag.decode, joined.companions[topic]), topic, skipped)
    depth = None if message is None else _decoded(partial(messages.decode_depth, message, topic), topic, skipped)
    if message is None or depth is None:
        return None
    own = known.depth_infos[int(known.depth_info_of[joined.step])]
    if message.header.frame_id != frame_id:
        registered = depth.shape == shape and (own is None or own == camera)
        used = "used, since size and camera are the picture's" if registered else "left out"
        told = f"frame_id {message.header.frame_id!r}, but {known.topics.image} has {frame_id!r}: {used}"
        skipped[f"{topic}: {told}; depth must be registered to the picture (align_depth.enable)"] += 1
        if not registered:
            return None
    if depth.shape == shape:
        return depth
    height, width = shape
    # Same field of view; without a camera any one will do, only the ratio of the sizes counts.
    any_camera = Intrinsics(width, width, (width - 1) / 2, (height - 1) / 2, width, height)
    is_its_own = camera is not None and own is not None and (own.height, own.width) == depth.shape
    return messages.resample_depth(depth, own if is_its_own else None, camera or any_camera)


def _decoded(decode: Callable[[], T], topic: str, skipped: Counter[str]) -> T | None:
    """What ``decode`` gives; None, counted, if the message cannot be used."""
    try:
        return decode()
    except messages.MessageError as error:
        skipped[str(error)] += 1
    except BagError:
        skipped[f"{topic}: bytes that are no message of its type; record it again"] += 1
    return None

"""The camera inside a bag: which topics it uses, and its frames with depth and intrinsics joined by stamp."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from dkt_ros import messages
from dkt_ros.bags import Bag, BagError, RawMessages
from dkt_ros.frames import Frame, Intrinsics

IMAGE_TYPES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")
INFO_TYPE = "sensor_msgs/msg/CameraInfo"
#: Words in a topic that say that its pictures are not what a colour camera sees.
NOT_COLOUR = (
    "depth",
    "mask",
    "normals",
    "infra",
    "disparity",
    "confidence",
    "provenance",
    "ground_truth",
    "transparent",
)
#: Messages of the picture's topic that may wait for their companions before they go without.
LONGEST_WAIT = 64

T = TypeVar("T")


@dataclass(frozen=True)
class CameraTopics:
    """The topics of one camera; depth and camera_info may be absent."""

    image: str
    camera_info: str | None
    depth: str | None


def find_camera(
    topics: Mapping[str, str], image: str | None = None, camera_info: str | None = None, depth: str | None = None
) -> CameraTopics:
    """Choose the topics of the colour camera; a name that is given is taken as it is.

    Otherwise: the only picture that is not depth, mask or the like (the raw one where it is there compressed too; one
    named colour or rgb before others); the camera_info beside it; the depth picture, one aligned to colour before
    others.

    Raises:
        BagError: a given topic is not in the bag, there is no picture, or the choice is not clear.
    """
    for name in (image, camera_info, depth):
        if name is not None and name not in topics:
            raise BagError(f"topic {name!r} is not in the bag; it has {', '.join(sorted(topics)) or 'none'}")
    pictures = sorted(name for name, kind in topics.items() if kind in IMAGE_TYPES)
    if image is None:
        coloured = [name for name in pictures if not any(word in name for word in NOT_COLOUR)]
        image = _only(_without_copies(coloured), ("color", "colour", "rgb"), "--image", topics)
        if image is None:
            raise BagError(f"no colour pictures in the bag; it has {', '.join(sorted(topics)) or 'no topics'}")
    if depth is None:
        deep = [n for n in pictures if "depth" in n and "ground_truth" not in n and topics[n] == IMAGE_TYPES[0]]
        depth = _only(deep, ("aligned", "registered"), "--depth", topics)
    if camera_info is None:
        folder = _raw_name(image).rpartition("/")[0]
        camera_info = f"{folder}/camera_info"
        camera_info = camera_info if topics.get(camera_info) == INFO_TYPE else None
    return CameraTopics(image, camera_info, depth)


def read_frames(
    bag: Bag, camera: CameraTopics, slop_s: float = 0.02, skipped: Counter[str] | None = None
) -> Iterator[Frame]:
    """The frames of a bag, in the order of recording, in bounded memory.

    Depth of another size is brought to the picture's size by the nearest value (no depth is invented); depth whose
    stamp is further than ``slop_s`` from the picture's is left out. A message that cannot be used is skipped and
    counted in ``skipped`` under its reason in words (topic, value, remedy).
    """
    skipped = Counter() if skipped is None else skipped
    intrinsics = _intrinsics(bag, camera.camera_info, skipped)
    companions = [camera.depth] if camera.depth else []
    for picture, others in joined(bag, camera.image, companions, slop_s, skipped):
        rgb = _decoded(partial(messages.decode_rgb, picture, camera.image), camera.image, skipped)
        if rgb is None:
            continue
        sensor = None
        if camera.depth and camera.depth not in others:
            text = f"no depth within {slop_s * 1e3:g} ms of a picture, which goes without depth"
            skipped[f"{camera.depth}: {text}"] += 1
        elif camera.depth:
            sensor = _decoded(partial(messages.decode_depth, others[camera.depth], camera.depth), camera.depth, skipped)
        height, width = rgb.shape[:2]
        scaled = intrinsics
        if intrinsics is not None and (intrinsics.width, intrinsics.height) != (width, height):
            scaled = intrinsics.resized(width, height)
        if sensor is not None and sensor.shape != (height, width):
            # Same field of view; without a camera any one will do, only the ratio of the sizes counts.
            any_camera = Intrinsics(width, width, (width - 1) / 2, (height - 1) / 2, width, height)
            sensor = messages.resample_depth(sensor, None, scaled or any_camera)
        yield Frame(messages.stamp_ns(picture), picture.header.frame_id, rgb, scaled, sensor)


def joined(
    bag: RawMessages, primary: str, companions: Sequence[str], slop_s: float, skipped: Counter[str]
) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Every message of ``primary`` with the message of each companion topic whose header stamp is nearest to its own,
    if within ``slop_s``."""
    slop_ns = int(slop_s * 1e9)
    waiting: deque[tuple[int, Any]] = deque()
    held: dict[str, deque[tuple[int, Any]]] = {topic: deque() for topic in companions}
    for raw in bag.messages([primary, *companions]):
        message = _decoded(partial(bag.decode, raw), raw.topic, skipped)
        if message is None:
            continue
        queue = waiting if raw.topic == primary else held[raw.topic]
        queue.append((messages.stamp_ns(message), message))
        while waiting and (len(waiting) > LONGEST_WAIT or _settled(waiting[0][0], held)):
            yield _matched(waiting.popleft(), held, slop_ns)
    while waiting:
        yield _matched(waiting.popleft(), held, slop_ns)


def _settled(stamp: int, held: Mapping[str, deque[tuple[int, Any]]]) -> bool:
    """No companion can come any more that is nearer to ``stamp`` than what is held."""
    return all(queue and queue[-1][0] >= stamp for queue in held.values())


def _matched(
    entry: tuple[int, Any], held: Mapping[str, deque[tuple[int, Any]]], slop_ns: int
) -> tuple[Any, dict[str, Any]]:
    stamp, message = entry
    found = {}
    for topic, queue in held.items():
        nearest = min(queue, key=lambda other: abs(other[0] - stamp), default=None)
        if nearest is not None and abs(nearest[0] - stamp) <= slop_ns:
            found[topic] = nearest[1]
        while queue and queue[0][0] < stamp - slop_ns:
            queue.popleft()
    return message, found


def _intrinsics(bag: Bag, topic: str | None, skipped: Counter[str]) -> Intrinsics | None:
    """Of the first usable camera_info; None if there is none."""
    for raw in bag.messages([topic] if topic else []):
        message = _decoded(partial(bag.decode, raw), raw.topic, skipped)
        if message is None:
            continue
        intrinsics = _decoded(partial(messages.decode_intrinsics, message, raw.topic), raw.topic, skipped)
        if intrinsics is not None:
            return intrinsics
    return None


def _decoded(decode: Callable[[], T], topic: str, skipped: Counter[str]) -> T | None:
    """What ``decode`` gives; None, counted, if the message cannot be used."""
    try:
        return decode()
    except messages.MessageError as error:
        skipped[str(error)] += 1
    except BagError:
        skipped[f"{topic}: bytes that are no message of its type; record it again"] += 1
    return None


def _raw_name(topic: str) -> str:
    return topic.removesuffix("/compressed")


def _without_copies(names: Sequence[str]) -> list[str]:
    return [name for name in names if _raw_name(name) == name or _raw_name(name) not in names]


def _only(names: Sequence[str], preferred: Sequence[str], option: str, topics: Mapping[str, str]) -> str | None:
    """The one name; of several the one that holds a preferred word; None if there is none."""
    if len(names) > 1:
        better = [name for name in names if any(word in name for word in preferred)]
        names = better or names
    if len(names) > 1:
        raise BagError(f"several topics could be meant: {', '.join(names)}; choose one with {option}")
    return names[0] if names else None

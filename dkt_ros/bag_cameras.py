"""Which topics of a bag belong to which camera, and which carry ground truth: found by type, encoding and name."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from dkt_ros.bag_names import (
    COLOUR,
    DERIVED,
    INFRARED,
    MASK,
    NORMALS,
    TRUTH,
    camera_name,
    could_be_colour,
    grouped,
    raw_name,
    words_of,
)
from dkt_ros.bag_topics import COMPRESSED, IMAGE, INFO, Ask, Camera, CameraTopics, TopicChoice, TruthTopics
from dkt_ros.bags import Bag, BagError

_DEPTHS = ("16UC1", "mono16", "32FC1")
_GREYS = ("mono8", "8UC1")
#: What encodings of numbers that are no brightness begin with.
_NUMBERS = ("16S", "16U", "32S", "32F", "64F")


def topics_of(bag: Bag, ask: Ask | None = None, truth_matters: bool = True) -> TopicList:
    """The topics of an open bag, with a look at the first picture of each; the rest as in ``TopicList``."""
    encodings = {}
    for name, kind in bag.topics.items():
        first = next(bag.messages([name]), None) if kind in (IMAGE, COMPRESSED) else None
        if first is None:
            continue
        try:
            picture = bag.decode(first)
        except BagError:
            continue  # told when it is read
        encodings[name] = picture.encoding if kind == IMAGE else picture.format
    return TopicList(bag.topics, encodings, ask, f"bag {bag.path}: ", truth_matters)


class TopicList:
    """The topics of a bag by what they carry.

    Args:
        types: topic -> message type.
        encodings: topic -> ``encoding`` or ``format`` of its first picture; where unknown, the name decides.
        ask: None where nobody can be asked; then what is not clear is an error.
        where: what errors and questions begin with.
        truth_matters: False leaves ground truth out where it is not clear, in place of a question or an error.
    """

    def __init__(
        self,
        types: Mapping[str, str],
        encodings: Mapping[str, str] | None = None,
        ask: Ask | None = None,
        where: str = "",
        truth_matters: bool = True,
    ) -> None:
        self._truth_matters = truth_matters
        self._types, self._encodings, self._ask, self._where = types, encodings or {}, ask, where
        # What our node published, or what `dkt run` wrote, is no input.
        nodes = tuple(name.removesuffix("provenance") for name in types if name.endswith("/provenance"))
        ours = tuple(node for node in nodes if node != "/")
        inputs = [name for name in sorted(types) if not name.startswith(ours)]
        pictures = [name for name in inputs if types[name] in (IMAGE, COMPRESSED)]
        self._infos = [name for name in inputs if types[name] == INFO]
        self._truths = [name for name in pictures if words_of(name) & TRUTH]
        depths = [name for name in pictures if name not in self._truths and self._is_depth(name)]
        others = [name for name in pictures if name not in self._truths and name not in depths]
        # What was declared and never published, or cannot be decoded, is meant only where there is nothing else.
        self._depths = [name for name in depths if name in self._encodings] or depths
        seen = [name for name in others if self._is_picture(name)]
        seen = [name for name in seen if name in self._encodings] or seen
        # One of a stereo pair is the camera only where there is no colour camera.
        self._colours = [name for name in seen if self._encodings.get(name) not in _GREYS] or seen

    def cameras(self, choice: TopicChoice) -> list[Camera]:
        """Those that ``choice`` leaves, in the order of their names, each with its ground truth where it has one.

        Raises:
            BagError: a topic that was given is not in the bag or of another type, there is no picture, no such camera,
                or it is not clear what belongs to a camera and nobody can be asked.
        """
        given = [name for name, _, _ in choice.given()]
        self._check(choice)
        # A picture that was named as something else is no camera's.
        every = grouped([name for name in self._colours if name == choice.image or name not in given])
        if choice.image is not None:
            images = {camera_name(choice.image): [choice.image]}
        elif every:
            images = self._of_camera(every, choice.camera)
        else:
            raise BagError(f"{self._where}no colour pictures in the bag; it has {self._all()}; choose one with --image")
        if len(images) > 1 and given:
            names = ", ".join(name or topics[0] for name, topics in sorted(images.items()))
            raise BagError(
                f"{self._where}topics were given, but not of which camera; choose one of {names} with --camera"
            )
        alone = len(every.keys() | images.keys()) == 1
        return [self._camera(name, images[name], alone, len(images) == 1, choice) for name in sorted(images)]

    def one_of(self, cameras: Sequence[Camera]) -> Camera:
        """The one of these that is meant.

        Raises:
            BagError: there are several, and nobody can be asked.
        """
        lines = [camera.in_words() for camera in cameras]
        return cameras[self._number("cameras", lines, "--camera NAME or --image TOPIC")]

    def truths(self) -> list[str]:
        """What could be the depth of ground truth, of whatever camera."""
        return [name for name in self._truths if self._is_depth(name)]

    def _check(self, choice: TopicChoice) -> None:
        """Whether the topics that were given are in the bag, and hold what they were given as."""
        for name, option, kinds in choice.given():
            if name not in self._types:
                raise BagError(f"{self._where}topic {name!r} is not in the bag; it has {self._all()}")
            if self._types[name] not in kinds:
                raise BagError(f"{self._where}{option} {name} is a {self._types[name]}; {' or '.join(kinds)} is wanted")
            holds = self._encodings.get(name)
            if option in ("--depth", "--truth") and holds is not None and not _is_of_depth(holds):
                raise BagError(
                    f"{self._where}{option} {name} holds {holds!r}, which is no depth; an Image of 16UC1 (mm) or 32FC1"
                    " (m) is wanted, or compressedDepth"
                )

    def _all(self) -> str:
        return ", ".join(sorted(self._types)) or "no topics"

    def _camera(self, name: str, images: list[str], alone: bool, only: bool, choice: TopicChoice) -> Camera:
        """``alone``: the bag has no other camera; ``only``: no other one is meant."""
        image = self._one(images, ("rect",), "--image") or images[0]
        depths = _belonging([each for each in self._depths if each != choice.truth], name, alone, only)
        depth = choice.depth or self._one(depths, ("aligned", "registered"), "--depth")
        info = choice.camera_info or self._info_of(image, name)
        topics = CameraTopics(image, info, depth, self._beside(depth) if depth else None)
        return Camera(name, topics, self._truth(_belonging(self._truths, name, alone, only), choice))

    def _info_of(self, image: str, name: str) -> str | None:
        if beside := self._beside(image):
            return beside
        infos = [info for info in self._infos if not words_of(info) & {"depth", *INFRARED, *TRUTH}]
        mine = [info for info in infos if camera_name(info) == name] or [i for i in infos if camera_name(i) == ""]
        return self._one(mine, tuple(COLOUR), "--camera-info")

    def _beside(self, topic: str) -> str | None:
        info = f"{raw_name(topic).rpartition('/')[0]}/camera_info"
        return info if info in self._infos else None

    def _truth(self, topics: Sequence[str], choice: TopicChoice) -> TruthTopics | None:
        depths = [topic for topic in topics if self._is_depth(topic)]
        normals = [topic for topic in topics if words_of(topic) & NORMALS]
        masks = [topic for topic in topics if words_of(topic) & MASK and self._types[topic] == IMAGE]
        if not self._truth_matters and max(map(len, (depths, normals, masks))) > 1:
            return None
        depth = choice.truth or self._one(depths, (), "--truth")
        if depth is None:
            return None
        return TruthTopics(
            depth,
            choice.truth_normals or self._one(normals, (), "--truth-normals"),
            choice.truth_mask or self._one(masks, ("transparent", "transparency"), "--truth-mask"),
        )

    def _is_depth(self, name: str) -> bool:
        encoding, words = self._encodings.get(name), words_of(name)
        if words & (NORMALS | MASK | INFRARED | DERIVED):
            return False
        if encoding is None:
            return "depth" in name and "compressed" not in words and not could_be_colour(name)
        return _is_of_depth(encoding)

    def _is_picture(self, name: str) -> bool:
        encoding = self._encodings.get(name, "")
        numbers = encoding.startswith(_NUMBERS) and self._types[name] == IMAGE
        return could_be_colour(name) and not numbers and "compressedDepth" not in encoding + name

    def _one(self, names: Sequence[str], preferred: Collection[str], option: str) -> str | None:
        """The one name; of several the one that holds a preferred word, uncompressed; None if there is none."""
        names = [name for name in names if any(word in name for word in preferred)] or names
        names = [name for name in names if raw_name(name) == name or raw_name(name) not in names]
        return names[self._number("topics", names, option)] if names else None

    def _of_camera(self, images: dict[str, list[str]], wanted: str) -> dict[str, list[str]]:
        """The camera of this name, or the only one in whose name it is a part."""
        wanted = wanted.strip("/")
        if not wanted:
            return images
        found = [name for name in images if wanted in (name, *name.split("/"))]
        found = [wanted] if wanted in found else found
        if len(found) != 1:
            have = ", ".join(name or f"one without a name ({topics[0]})" for name, topics in images.items())
            raise BagError(
                f"{self._where}{'more than one' if found else 'no'} camera {wanted!r} in the bag; it has {have}"
            )
        return {found[0]: images[found[0]]}

    def _number(self, things: str, lines: Sequence[str], option: str) -> int:
        if len(lines) == 1:
            return 0
        if self._ask:
            question = f"{self._where}several {things} could be meant ({option} chooses without a question)"
            return self._ask(question, lines)
        raise BagError(f"{self._where}several {things} could be meant: {'; '.join(lines)}; choose one with {option}")


def _is_of_depth(holds: str) -> bool:
    """Whether an ``encoding``, or what a compressed picture's ``format`` says of it ("16UC1; compressedDepth png")."""
    return holds.split(";")[0] in _DEPTHS


def _belonging(names: Sequence[str], camera: str, alone: bool, only: bool) -> list[str]:
    """Those that name this camera. Without one: for the only camera of a bag all of them, for the only one that is
    meant those that name none."""
    mine = [name for name in names if camera_name(name) == camera]
    return mine or [name for name in names if alone or (only and camera_name(name) == "")]

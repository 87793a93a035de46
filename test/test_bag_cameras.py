"""Which topics of a bag are meant: by type, encoding and name, by option, by asking."""

from __future__ import annotations

import argparse
import io
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from dkt_ros.bag_cameras import TopicList, topics_of
from dkt_ros.bag_messages import MessageMaker
from dkt_ros.bag_names import camera_name
from dkt_ros.bag_topics import Camera, CameraTopics, TopicChoice, TruthTopics
from dkt_ros.bags import Bag, BagError, BagWriter
from dkt_ros.commands import CommandError, bag_options

IMAGE, JPEG, INFO = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage", "sensor_msgs/msg/CameraInfo"


def listed(*names: str) -> TopicList:
    """Topics of these names; what ends in camera_info or compressed has that type."""
    types = {n: INFO if n.endswith("camera_info") else JPEG if "/compressed" in n else IMAGE for n in names}
    return TopicList({**types, "/odom": "nav_msgs/msg/Odometry"})


def found(*names: str, **choice: str) -> CameraTopics:
    topics = listed(*names)
    return topics.one_of(topics.cameras(TopicChoice(**choice))).topics


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["/camera/image_raw"], CameraTopics("/camera/image_raw")),
        (
            ["/c/color/image_raw", "/c/color/image_raw/compressed", "/c/color/camera_info"],
            CameraTopics("/c/color/image_raw", "/c/color/camera_info"),
        ),
        (  # a RealSense
            [
                *("/c/color/image_raw/compressed", "/c/color/camera_info", "/c/depth/image_rect_raw"),
                *("/c/aligned_depth_to_color/image_raw", "/c/aligned_depth_to_color/camera_info"),
                *("/c/infra1/image_rect_raw", "/c/infra1/camera_info"),
            ],
            CameraTopics(
                "/c/color/image_raw/compressed",
                "/c/color/camera_info",
                "/c/aligned_depth_to_color/image_raw",
                "/c/aligned_depth_to_color/camera_info",
            ),
        ),
        (  # rectified before raw; only compressed depth; camera_info that lies elsewhere
            ["/arm/rgb/image_raw", "/arm/rgb/image_rect", "/arm/depth/image/compressedDepth", "/arm/camera_info"],
            CameraTopics("/arm/rgb/image_rect", "/arm/camera_info", "/arm/depth/image/compressedDepth"),
        ),
        (["/depth_camera/rgb/image_raw"], CameraTopics("/depth_camera/rgb/image_raw")),
        (["/picture", "/my_depth"], CameraTopics("/picture", None, "/my_depth")),
        (  # a ZED, and what our node published beside it
            ["/zed/node/rgb/image", "/zed/node/depth/depth_registered", "/dkt/depth/image", "/dkt/provenance"],
            CameraTopics("/zed/node/rgb/image", None, "/zed/node/depth/depth_registered"),
        ),
    ],
)
def test_topics_are_found_by_type_and_name(names: list[str], expected: CameraTopics) -> None:
    assert found(*names) == expected


def test_the_name_of_a_camera_is_what_does_not_say_what_a_picture_is() -> None:
    assert camera_name("/wrist/camera/color/image_raw/compressed") == "wrist/camera"
    assert camera_name("/cam/0/aligned_depth_to_color/image_raw") == "cam/0"
    assert camera_name("/image_raw") == camera_name("/ground_truth/depth") == ""


def test_encodings_decide_where_names_say_nothing(tmp_path: Path) -> None:
    """/a is grey, /b colour, /c depth; /broken is no picture, and on /silent/depth nothing came."""
    with BagWriter(tmp_path / "bag") as bag:
        make = MessageMaker(bag.types, "camera")
        pictures = {"/a": ("mono8", np.uint8, ()), "/b": ("bgr8", np.uint8, (3,)), "/c": ("16UC1", np.uint16, ())}
        for name, (encoding, kind, channels) in pictures.items():
            bag.write(name, make.image(5, encoding, np.ones((4, 4, *channels), kind)), 5)
        bag.write_raw("/broken", IMAGE, 6, b"\0\1\0\0")
        bag.declare("/silent/depth", IMAGE)
    with Bag(tmp_path / "bag") as bag:
        (camera,) = topics_of(bag).cameras(TopicChoice())
        assert camera.topics == CameraTopics("/b", None, "/c")
        (camera,) = topics_of(bag).cameras(TopicChoice(image="/a", depth="/silent/depth"))
        assert camera.topics == CameraTopics("/a", None, "/silent/depth")


TWO = ("/wrist/rgb/image", "/wrist/depth/image", "/wrist/rgb/camera_info", "/head/cam/image", "/head/cam/camera_info")


def test_several_cameras_are_told_apart_and_chosen_by_name() -> None:
    topics = listed(*TWO)
    assert topics.cameras(TopicChoice()) == [
        Camera("head/cam", CameraTopics("/head/cam/image", "/head/cam/camera_info")),
        Camera("wrist", CameraTopics("/wrist/rgb/image", "/wrist/rgb/camera_info", "/wrist/depth/image")),
    ]
    assert found(*TWO, camera="head").image == "/head/cam/image"
    assert found(*TWO, camera="/wrist/").depth == "/wrist/depth/image"
    assert found(*TWO, image="/head/cam/image") == CameraTopics("/head/cam/image", "/head/cam/camera_info")
    assert found(*TWO, camera="head", depth="/wrist/depth/image").depth == "/wrist/depth/image"


@pytest.mark.parametrize(
    ("names", "choice", "words"),
    [
        (TWO, {}, "several cameras could be meant: head/cam: /head/cam/image, .*; choose one with --camera NAME"),
        (TWO, {"camera": "hed"}, "no camera 'hed' in the bag; it has head/cam, wrist"),
        (TWO, {"depth": "/wrist/depth/image"}, "but not of which camera; choose one of head/cam, wrist with --camera"),
        (["/image", "/a/depth", "/b/depth"], {}, "several topics could be meant: /a/depth; /b/depth; .* --depth"),
        (["/cam/image_a", "/cam/depth"], {"image": "/imag"}, "'/imag' is not in the bag; it has /cam/depth, /cam/ima"),
        ([], {}, "no colour pictures in the bag; it has /odom; choose one with --image"),
    ],
)
def test_what_is_not_clear_lists_the_topics_and_names_the_option(names: Sequence[str], choice, words: str) -> None:
    with pytest.raises(BagError, match=words):
        found(*names, **choice)


TRUTH = ("/wrist/ground_truth/depth", "/wrist/ground_truth/normals", "/wrist/ground_truth/transparent")


def test_ground_truth_goes_to_the_camera_that_it_names() -> None:
    head, wrist = listed(*TWO, *TRUTH).cameras(TopicChoice())
    assert (head.truth, wrist.truth) == (None, TruthTopics(*TRUTH))
    (wrist,) = listed(*TWO, *TRUTH, "/mine").cameras(TopicChoice(camera="wrist", truth="/mine", truth_mask="/mine"))
    assert wrist.truth == TruthTopics("/mine", TRUTH[1], "/mine")
    (only,) = listed("/c/color/image", "/gt/depth").cameras(TopicChoice())
    assert only.truth == TruthTopics("/gt/depth") and only.topics.depth is None


def test_on_a_terminal_a_numbered_question_is_asked(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdin", Terminal("\n7\ntwo\n2\n"))
    assert bag_options.question_on_terminal() is None, "nobody reads a question that goes into a file"
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    ask = bag_options.question_on_terminal()
    topics = TopicList(dict.fromkeys(("/left/image", "/right/image"), IMAGE), ask=ask)
    assert topics.one_of(topics.cameras(TopicChoice())).name == "right"
    said = capsys.readouterr().err
    assert "  1  left: /left/image\n  2  right: /right/image\n" in said and said.count("number (1 to 2): ") == 4
    assert "--camera NAME or --image TOPIC chooses without a question" in said
    with pytest.raises(CommandError, match="no answer; several cameras could be meant"):
        topics.one_of(topics.cameras(TopicChoice()))


def test_the_page_names_the_options_and_their_defaults() -> None:
    parser = argparse.ArgumentParser()
    bag_options.add_topic_arguments(parser, truth=True)
    page = (Path(__file__).parents[1] / "docs" / "bags.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith("| `--")]
    told = {option for row in rows for option in re.findall(r"--[a-z-]+", row)}
    assert told == {action.option_strings[0] for action in parser._actions} - {"-h"}
    assert bag_options.topic_choice(parser.parse_args([])) == TopicChoice()
    assert f"{TopicChoice().slop_s} s, as in the node" in page and f"{TopicChoice().truth_slop_s} s, since" in page
    with pytest.raises(CommandError, match=r"--truth-slop -1.0: must be from 0 to 1"):
        bag_options.topic_choice(parser.parse_args(["--truth-slop", "-1"]))


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        ({"truth": "/info"}, "--truth /info is a sensor_msgs/msg/CameraInfo; sensor_msgs/msg/Image or "),
        ({"image": "/info"}, "--image /info is a "),
        ({"depth": "/info"}, "--depth /info is a "),
        ({"camera_info": "/rgb"}, "--camera-info /rgb is a sensor_msgs/msg/Image; sensor_msgs/msg/CameraInfo is "),
        ({"truth_mask": "/mask/compressed"}, "--truth-mask /mask/compressed is a sensor_msgs/msg/CompressedImage; "),
    ],
)
def test_a_topic_that_was_given_must_have_a_type_that_fits(choice: dict[str, str], said: str) -> None:
    types = {"/rgb": IMAGE, "/info": INFO, "/mask/compressed": JPEG}
    with pytest.raises(BagError, match=re.escape(said)):
        TopicList(types).cameras(TopicChoice(**choice))


@pytest.mark.parametrize("option", ["depth", "truth"])
def test_depth_that_was_given_must_hold_depth(option: str) -> None:
    types = {"/rgb": IMAGE, "/jpeg": JPEG, "/mm": IMAGE, "/png": JPEG, "/silent": IMAGE}
    topics = TopicList(types, {"/rgb": "rgb8", "/jpeg": "jpeg", "/mm": "16UC1", "/png": "16UC1; compressedDepth png"})
    for name, holds in (("/rgb", "rgb8"), ("/jpeg", "jpeg")):
        with pytest.raises(BagError, match=f"--{option} {name} holds '{holds}', which is no depth; an Image of 16UC1"):
            topics.cameras(TopicChoice(**{"image": "/rgb", option: name}))
    for name in ("/mm", "/png", "/silent"):  # the last is told when it is read
        (camera,) = topics.cameras(TopicChoice(**{"image": "/rgb", option: name}))
        assert name == (camera.topics.depth if option == "depth" else camera.truth and camera.truth.depth)


def test_ground_truth_that_is_not_clear_matters_only_where_it_is_asked_for() -> None:
    types = dict.fromkeys(("/rgb", "/truth/depth", "/truth2/depth"), IMAGE)
    with pytest.raises(BagError, match="choose one with --truth"):
        TopicList(types).cameras(TopicChoice())
    (camera,) = TopicList(types, truth_matters=False).cameras(TopicChoice())
    assert camera.truth is None and camera.topics.image == "/rgb"

"""Bags without ROS: what is written can be read, also when the file was cut off."""

from pathlib import Path

import numpy as np
import pytest
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from dkt_ros.bags import Bag, BagError, BagWriter

START = 1_000_000
KIND = "sensor_msgs/msg/Image"
TYPES = get_typestore(Stores.ROS2_KILTED)


def image(index: int, side: int = 128):
    rng = np.random.default_rng(index)
    stamp = TYPES.types["builtin_interfaces/msg/Time"](sec=index, nanosec=0)
    header = TYPES.types["std_msgs/msg/Header"](stamp=stamp, frame_id="camera")
    data = rng.integers(0, 255, side * side * 3, np.uint8)
    return TYPES.types[KIND](header, side, side, "rgb8", 0, side * 3, data)


def write(folder: Path, count: int = 60) -> Path:
    with BagWriter(folder) as bag:
        for i in range(count):
            bag.write("/camera/image", image(i), START + i * 10)
            bag.write("/other", TYPES.types["std_msgs/msg/String"](data=f"n{i}"), START + i * 10 - 15)
    return folder


def cut(folder: Path, share: float) -> Path:
    (file,) = folder.glob("*.mcap")
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * share)])
    return file


def test_what_is_written_is_read(tmp_path: Path) -> None:
    with Bag(write(tmp_path / "bag", 5)) as bag:
        assert bag.topics == {"/camera/image": KIND, "/other": "std_msgs/msg/String"}
        messages = list(bag.messages(["/camera/image"]))
        assert [m.time_ns - START for m in messages] == [0, 10, 20, 30, 40]
        assert bag.decode(messages[3]).header.stamp.sec == 3
        np.testing.assert_array_equal(bag.decode(messages[3]).data, image(3).data)
        assert len(list(bag.messages())) == 10
        assert bag.problem == ""


def test_a_bare_mcap_file_is_a_bag_too(tmp_path: Path) -> None:
    (file,) = write(tmp_path / "bag", 3).glob("*.mcap")
    with Bag(file) as bag:
        assert len(list(bag.messages(["/other"]))) == 3


@pytest.mark.parametrize("share", [0.4, 0.6, 0.9])
def test_a_cut_off_bag_gives_what_is_whole_in_order_and_says_so(tmp_path: Path, share: float) -> None:
    folder = write(tmp_path / "bag")
    file = cut(folder, share)
    with Bag(folder) as bag:
        messages = list(bag.messages())
        assert 0 < len(messages) < 120
        assert [m.time_ns for m in messages] == sorted(m.time_ns for m in messages)
        seconds = [bag.decode(m).header.stamp.sec for m in messages if m.type == KIND]
        assert seconds == list(range(len(seconds))) and len(seconds) >= len(messages) // 2
        for word in (str(folder), file.name, f"{len(messages)} messages", "bytes", "mcap recover"):
            assert word in bag.problem


def test_nothing_whole_in_it_is_an_error_by_name(tmp_path: Path) -> None:
    folder = write(tmp_path / "bag")
    file = cut(folder, 0.2)
    with pytest.raises(BagError, match=f"nothing can be read: {file.name} is cut off"), Bag(folder):
        pass


def test_a_killed_recorder_leaves_no_metadata_and_no_footer(tmp_path: Path) -> None:
    folder = write(tmp_path / "bag")
    cut(folder, 0.7)
    (folder / "metadata.yaml").unlink()
    with Bag(folder) as bag:
        assert len(list(bag.messages())) > 10
        assert "cut off" in bag.problem


def test_missing_metadata_alone_costs_nothing(tmp_path: Path) -> None:
    folder = write(tmp_path / "bag", 4)
    (folder / "metadata.yaml").unlink()
    with Bag(folder) as bag:
        assert len(list(bag.messages())) == 8
        assert "metadata.yaml" in bag.problem


def test_a_damaged_sqlite_bag_is_refused_with_its_own_remedy(tmp_path: Path) -> None:
    folder = tmp_path / "bag"
    with Writer(folder, version=8, storage_plugin=StoragePlugin.SQLITE3) as writer:
        connection = writer.add_connection("/camera/image", KIND, typestore=TYPES)
        for i in range(10):
            writer.write(connection, i, bytes(TYPES.serialize_cdr(image(i), KIND)))
    with Bag(folder) as bag:
        assert len(list(bag.messages())) == 10
    (file,) = folder.glob("*.db3")
    file.write_bytes(file.read_bytes()[:50_000])
    with pytest.raises(BagError, match=r"bag\.db3: .*malformed.*sqlite3 bag\.db3 \.recover"), Bag(folder):
        pass


@pytest.mark.parametrize(
    "content", [b"", b"not a bag at all", b"\x89MCAP0\r\n", b"\x89MCAP0\r\n\x01\xff\0\0\0\0\0\0\0ros2"]
)
def test_what_is_no_bag_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "broken.mcap"
    file.write_bytes(content)
    with pytest.raises(BagError, match=r"broken\.mcap: nothing can be read"), Bag(file):
        pass


def test_wrong_paths_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(BagError, match="no such file or folder"), Bag(tmp_path / "absent"):
        pass
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(BagError, match=r"notes\.txt: a bag is a folder"), Bag(tmp_path / "notes.txt"):
        pass
    (tmp_path / "empty").mkdir()
    with pytest.raises(BagError, match=r"empty: no readable bag"), Bag(tmp_path / "empty"):
        pass


def test_a_message_that_is_not_of_its_type(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "bag") as writer:
        writer.write_raw("/camera/image", KIND, 7, b"\0\1\0\0xx")
    with Bag(tmp_path / "bag") as bag:
        (message,) = bag.messages()
        with pytest.raises(BagError, match="/camera/image at 7 ns is no sensor_msgs/msg/Image"):
            bag.decode(message)


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    write(tmp_path / "bag", 1)
    with pytest.raises(BagError, match="exists already"):
        BagWriter(tmp_path / "bag")

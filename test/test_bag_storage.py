"""Every kind of rosbag2 storage: MCAP and sqlite3, packed in every way, in many files; what metadata.yaml may say."""

from __future__ import annotations

import resource
import shutil
import sqlite3
import struct
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import lz4.frame
import numpy as np
import pytest
import yaml
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from dkt_ros.bag_files import is_bag, is_no_room, unpack, unpack_file, zstd
from dkt_ros.bag_messages import MessageMaker
from dkt_ros.bags import Bag, BagError
from dkt_ros.mcap_repair import CHUNK, DATA_END, MAGIC, MESSAGE_INDEX, repair_mcap
from dkt_ros.sources import open_source

TYPES = get_typestore(Stores.ROS2_KILTED)
COUNT = 11
SQLITE, MCAP = StoragePlugin.SQLITE3, StoragePlugin.MCAP
NONE, FILE, MESSAGE, STORAGE = (
    CompressionMode.NONE,
    CompressionMode.FILE,
    CompressionMode.MESSAGE,
    CompressionMode.STORAGE,
)


def write(
    folder: Path, plugin: StoragePlugin, mode: CompressionMode, frames: range = range(COUNT), version: int = 8
) -> Path:
    """RGB-D pictures whose grey and whose millimetres are their number."""
    make = MessageMaker(TYPES.types, "camera")
    writer = Writer(folder, version=version, storage_plugin=plugin)
    writer.set_compression(mode, CompressionFormat.ZSTD)
    with writer:
        topics = {
            name: writer.add_connection(name, "sensor_msgs/msg/Image", typestore=TYPES) for name in ("/rgb", "/depth")
        }
        for i in frames:
            time = (i + 1) * 100_000_000
            pictures = {
                "/rgb": make.image(time, "rgb8", np.full((6, 8, 3), i, np.uint8)),
                "/depth": make.image(time, "16UC1", np.full((6, 8), 500 + i, np.uint16)),
            }
            for name, picture in pictures.items():
                writer.write(topics[name], time, TYPES.serialize_cdr(picture, picture.__msgtype__))
    return folder


def numbers(path: Path) -> list[int]:
    """Of the frames, which must have their depth."""
    frames = list(open_source(path).frames())
    for frame in frames:
        np.testing.assert_allclose(frame.sensor_depth, (500 + int(frame.rgb[0, 0, 0])) / 1000, rtol=1e-6)
    return [int(frame.rgb[0, 0, 0]) for frame in frames]


def repacked(folder: Path, lz4_chunks: bool) -> Path:
    """The MCAP file of a folder with its chunks packed by lz4, or without chunks and index (rosbag2's "fastwrite")."""
    (file,) = folder.glob("*.mcap")
    old, new = file.read_bytes(), [MAGIC]
    at = len(MAGIC)
    while at < len(old) - len(MAGIC):
        kind, length = struct.unpack_from("<BQ", old, at)
        body = old[at + 9 : at + 9 + length]
        at += 9 + length
        if kind == DATA_END:
            break
        if kind == CHUNK:
            (name,) = struct.unpack_from("<I", body, 28)
            content = unpack(body[40 + name :])
            if not lz4_chunks:
                new.append(content)
                continue
            packed = lz4.frame.compress(content)
            body = body[:28] + struct.pack("<I", 3) + b"lz4" + struct.pack("<Q", len(packed)) + packed
        if kind != MESSAGE_INDEX or lz4_chunks:
            new.append(struct.pack("<BQ", kind, len(body)) + body)
    file.write_bytes(b"".join(new))
    repair_mcap(file, folder / "whole.mcap")
    (folder / "whole.mcap").replace(file)
    assert b"zstd" not in file.read_bytes() and (b"lz4" in file.read_bytes()) == lz4_chunks
    return folder


@pytest.mark.parametrize(
    ("plugin", "mode"),
    [(SQLITE, NONE), (SQLITE, FILE), (SQLITE, MESSAGE), (MCAP, NONE), (MCAP, FILE), (MCAP, MESSAGE), (MCAP, STORAGE)],
)
@pytest.mark.parametrize("metadata", [True, False])
def test_every_kind_of_storage_is_read(
    plugin: StoragePlugin, mode: CompressionMode, metadata: bool, tmp_path: Path
) -> None:
    folder = write(tmp_path / "bag", plugin, mode)
    if not metadata:
        (folder / "metadata.yaml").unlink()
    assert is_bag(folder) and numbers(folder) == list(range(COUNT))
    assert bool(open_source(folder).problem) == (not metadata)


@pytest.mark.parametrize("plugin", [SQLITE, MCAP])
def test_a_bare_file_is_a_bag_packed_or_not(plugin: StoragePlugin, tmp_path: Path) -> None:
    for mode, suffix in ((NONE, ""), (FILE, ".zstd")):
        folder = write(tmp_path / mode.name, plugin, mode)
        (file,) = (path for path in folder.iterdir() if path.name != "metadata.yaml")
        assert file.name.endswith(suffix or file.suffix)
        assert is_bag(file) and numbers(file) == list(range(COUNT))


@pytest.mark.parametrize("lz4_chunks", [True, False])
def test_chunks_packed_by_lz4_and_no_chunks_at_all_are_read(lz4_chunks: bool, tmp_path: Path) -> None:
    folder = repacked(write(tmp_path / "bag", MCAP, STORAGE), lz4_chunks)
    assert numbers(folder) == list(range(COUNT)) and open_source(folder).problem == ""


def test_the_metadata_of_newer_distributions_is_read(tmp_path: Path) -> None:
    assert numbers(write(tmp_path / "bag", MCAP, STORAGE, version=9)) == list(range(COUNT))


def split(folder: Path, plugin: StoragePlugin, mode: CompressionMode, names: Callable[[int], str]) -> Path:
    """A bag of files with one frame each."""
    folder.mkdir()
    listed = []
    for i in range(COUNT):
        part = write(folder / "part", plugin, mode, range(i, i + 1))
        (file,) = (path for path in part.iterdir() if path.name != "metadata.yaml")
        listed.append(names(i) + file.name.removeprefix("part"))
        file.replace(folder / Path(listed[-1]).name)
        metadata = yaml.safe_load((part / "metadata.yaml").read_text())
        shutil.rmtree(part)
    metadata["rosbag2_bagfile_information"]["relative_file_paths"] = listed
    (folder / "metadata.yaml").write_text(yaml.safe_dump(metadata))
    return folder


@pytest.mark.parametrize(("plugin", "mode"), [(SQLITE, FILE), (MCAP, STORAGE)])
def test_a_bag_of_many_files_is_read_in_their_order(
    plugin: StoragePlugin, mode: CompressionMode, tmp_path: Path
) -> None:
    folder = split(tmp_path / "bag", plugin, mode, lambda i: f"bag_{i}")
    assert numbers(folder) == list(range(COUNT)) and open_source(folder).problem == ""
    (folder / "metadata.yaml").unlink()  # then by their numbers: 2 before 10
    assert numbers(folder) == list(range(COUNT))
    (folder / "metadata.yaml").write_text("rosbag2_bagfile_information: [")
    assert numbers(folder) == list(range(COUNT)) and "metadata.yaml cannot be used" in open_source(folder).problem


def test_old_metadata_names_the_folder_too(tmp_path: Path) -> None:
    folder = split(tmp_path / "bag", SQLITE, NONE, lambda i: f"bag/bag_{COUNT - i}")
    assert numbers(folder) == list(range(COUNT)), "the order is metadata.yaml's, not that of the names"


def test_one_damaged_file_of_many_costs_no_other(tmp_path: Path) -> None:
    folder = split(tmp_path / "bag", MCAP, STORAGE, lambda i: f"bag_{i}")
    (folder / "bag_3.mcap").write_bytes(b"no bag")
    content = (folder / "bag_5.mcap").read_bytes()
    middle = content.index(b"zstd") + 40  # inside the chunk: this shows only when it is read
    (folder / "bag_5.mcap").write_bytes(content[:middle] + bytes(8) + content[middle + 8 :])
    with Bag(folder) as bag:
        assert "bag_3.mcap" in bag.problem and "mcap recover" in bag.problem
        found = [bag.decode(message).data[0] for message in bag.messages(["/rgb"])]
    assert found == [i for i in range(COUNT) if i not in (3, 5)]


def test_a_missing_file_is_named_and_the_others_are_used(tmp_path: Path) -> None:
    folder = split(tmp_path / "bag", MCAP, STORAGE, lambda i: f"bag_{i}")
    (folder / "bag_3.mcap").unlink()
    assert numbers(folder) == [i for i in range(COUNT) if i != 3]
    assert "metadata.yaml names bag_3.mcap, which is not in the folder" in open_source(folder).problem


@pytest.mark.parametrize("how", ["../outside/outside.mcap", "{absolute}", "..", ""])
def test_metadata_opens_nothing_outside_of_the_folder(how: str, tmp_path: Path) -> None:
    outside = write(tmp_path / "outside", MCAP, STORAGE, range(5)) / "outside.mcap"
    folder = write(tmp_path / "bag", MCAP, STORAGE, range(5, 8))
    metadata = yaml.safe_load((folder / "metadata.yaml").read_text())
    named = how.format(absolute=outside)
    metadata["rosbag2_bagfile_information"]["relative_file_paths"] = [named]
    (folder / "metadata.yaml").write_text(yaml.safe_dump(metadata))
    assert numbers(folder) == [5, 6, 7]
    assert f"names {named}, which is not in the folder" in open_source(folder).problem
    (folder / "bag.mcap").unlink()
    with pytest.raises(BagError, match="no readable bag"), Bag(folder):
        pass


def test_a_packed_file_that_was_cut_off_is_used_as_far_as_it_goes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    folder = tmp_path / "bag"
    make = MessageMaker(TYPES.types, "camera")
    writer = Writer(folder, version=8, storage_plugin=MCAP)
    writer.set_compression(FILE, CompressionFormat.ZSTD)
    with writer:
        topic = writer.add_connection("/rgb", "sensor_msgs/msg/Image", typestore=TYPES)
        for i in range(40):
            picture = make.image(i + 1, "rgb8", rng.integers(0, 255, (128, 256, 3), np.uint8))
            writer.write(topic, i + 1, TYPES.serialize_cdr(picture, picture.__msgtype__))
    (file,) = folder.glob("*.zstd")
    file.write_bytes(file.read_bytes()[: int(0.7 * file.stat().st_size)])
    with Bag(folder) as bag:
        stamps = [bag.decode(message).header.stamp.nanosec for message in bag.messages()]
        assert 10 < len(stamps) < 30 and stamps == list(range(1, len(stamps) + 1))
        assert "bag.mcap.zstd is cut off" in bag.problem and "copy or record it again" in bag.problem


def test_sqlite_of_galactic_and_older_has_no_types_of_its_own(tmp_path: Path) -> None:
    """Only the tables ``topics`` and ``messages``."""
    folder = write(tmp_path / "bag", SQLITE, NONE)
    database = sqlite3.connect(folder / "bag.db3")
    for table in ("schema", "metadata", "message_definitions"):
        database.execute(f"DROP TABLE {table}")
    database.execute("ALTER TABLE topics DROP COLUMN type_description_hash")
    database.commit()
    database.close()
    assert numbers(folder) == list(range(COUNT))


def killed_recorder(tmp_path: Path) -> Path:
    """The preset "resilient": write-ahead logging, and no metadata.yaml yet. Frames 3 and later wait in the log."""
    whole = write(tmp_path / "whole", SQLITE, NONE) / "whole.db3"
    database = sqlite3.connect(whole)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA wal_autocheckpoint=0")
    rows = database.execute("SELECT topic_id, timestamp, data FROM messages").fetchall()
    database.execute("DELETE FROM messages WHERE timestamp > 300000000")
    database.commit()
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    late = [row for row in rows if row[1] > 300_000_000]
    database.executemany("INSERT INTO messages (topic_id, timestamp, data) VALUES (?, ?, ?)", late)
    database.commit()
    folder = tmp_path / "bag"
    folder.mkdir()
    for suffix in ("", "-wal"):  # as they stand while the recorder runs
        shutil.copyfile(f"{whole}{suffix}", folder / f"bag.db3{suffix}")
    database.close()
    return folder


def test_what_a_killed_recorder_left_in_the_log_of_sqlite_is_read(tmp_path: Path) -> None:
    folder = killed_recorder(tmp_path)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert numbers(folder) == list(range(COUNT))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    (folder / "bag.db3-wal").unlink()
    assert numbers(folder) == [0, 1, 2]


def test_all_that_a_cut_off_zstd_file_holds_is_unpacked(tmp_path: Path) -> None:
    """Less than the MiB that zstd.open reads at once; in two frames, with one to skip between them."""
    block = 1 << 17
    parts = [np.random.default_rng(i).integers(0, 16, 2 * block, np.uint8).tobytes() for i in (0, 1)]
    skipped = b"\x50\x2a\x4d\x18" + struct.pack("<I", 5) + b"aside"
    packed = zstd.compress(parts[0]) + skipped + zstd.compress(parts[1])
    source, target = tmp_path / "a.mcap.zstd", tmp_path / "a.mcap"
    source.write_bytes(packed)
    assert unpack_file(source, target) == "" and target.read_bytes() == b"".join(parts)
    source.write_bytes(packed[:-100])
    lost, found = unpack_file(source, target), target.read_bytes()
    assert lost == f"{source.name} is cut off: {len(found)} bytes of its content could be unpacked"
    assert 3 * block <= len(found) < 4 * block and b"".join(parts).startswith(found)
    source.write_bytes(packed + b"no frame")
    assert "is damaged (" in unpack_file(source, target) and target.read_bytes() == b"".join(parts)


def test_of_a_short_packed_file_the_note_says_that_it_was_cut_off(tmp_path: Path) -> None:
    (file,) = write(tmp_path / "bag", MCAP, FILE).glob("*.zstd")
    file.write_bytes(file.read_bytes()[:-20])
    notes = r"bag\.mcap\.zstd is cut off: 0 bytes .*; bag\.mcap\.zstd: does not begin as an MCAP file"
    with pytest.raises(BagError, match=notes), Bag(file):
        pass


@contextmanager
def files_no_larger_than(size: int) -> Iterator[None]:
    """The system refuses to write more, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("kind", ["packed", "log", "mended"])
def test_no_room_to_unpack_is_no_damage_of_the_bag(kind: str, tmp_path: Path) -> None:
    if kind == "log":
        path = killed_recorder(tmp_path)
    else:
        path = write(tmp_path / "bag", MCAP, FILE if kind == "packed" else NONE)
    if kind == "mended":
        (file,) = path.glob("*.mcap")
        file.write_bytes(file.read_bytes()[:-20])
    with files_no_larger_than(1000), pytest.raises(BagError) as told, Bag(path):
        pass
    assert f"no room to unpack bag.{'db3' if kind == 'log' else 'mcap'}" in str(told.value)
    assert f"in {tempfile.gettempdir()} (File too large); set TMPDIR to" in str(told.value)
    assert numbers(path) == list(range(COUNT))


def test_no_room_where_sqlite_takes_over_the_log(tmp_path: Path) -> None:
    database = sqlite3.connect(tmp_path / "full.db3")
    database.execute("PRAGMA max_page_count=2")
    database.execute("CREATE TABLE messages (data BLOB)")
    with pytest.raises(sqlite3.OperationalError) as full:
        database.execute("INSERT INTO messages VALUES (zeroblob(100000))")
    with files_no_larger_than(8192), pytest.raises(sqlite3.OperationalError) as refused:
        database.execute("PRAGMA max_page_count=1000")
        database.execute("PRAGMA cache_size=1")
        database.execute("INSERT INTO messages VALUES (zeroblob(100000))")
    with pytest.raises(sqlite3.OperationalError) as wrong:
        database.execute("SELECT nothing")
    database.close()
    assert [is_no_room(error.value) for error in (full, refused, wrong)] == [True, True, False]


def test_sqlite_of_any_name_is_read_and_no_other_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(tmp_path / "source", SQLITE, NONE, range(2)) / "source.db3"
    other = write(tmp_path / "other", SQLITE, NONE, range(5, 8)) / "other.db3"
    for name in ("a", "a.db3", "a b.db3"):  # what the URIs file:a#b.db3, file:a?b.db3, file:a%20b.db3 would open
        shutil.copyfile(other, tmp_path / name)
    for name in ("a#b", "a?b", "a%20b"):
        folder = tmp_path / name
        folder.mkdir()
        for path in (tmp_path / f"{name}.db3", folder / "bag.db3"):
            shutil.copyfile(file, path)
            assert numbers(path) == [0, 1]
    path.write_bytes(file.read_bytes()[:9000])
    with pytest.raises(BagError, match=r"bag\.db3: Cannot open database bag\.db3: .*malformed"), Bag(folder):
        pass
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    with pytest.raises(BagError, match="set TMPDIR to a folder without"), Bag(folder):
        pass


def test_metadata_that_names_no_file_hides_none(tmp_path: Path) -> None:
    folder = write(tmp_path / "bag", MCAP, STORAGE)
    (folder / "metadata.yaml").write_text("rosbag2_bagfile_information: {relative_file_paths: []}")
    assert numbers(folder) == list(range(COUNT))
    assert "its metadata.yaml names no file; 22 messages could be read" in open_source(folder).problem
    (folder / "bag.mcap").unlink()
    with pytest.raises(BagError, match=r"no readable bag \(its metadata.yaml names no file\)"), Bag(folder):
        pass

"""rosbag2 files without ROS: read raw messages, also out of a cut-off recording, and write new bags.

A bag is a folder (metadata.yaml and storage files) or a bare storage file: ``.mcap`` or ``.db3``, also compressed as a
whole (``.mcap.zstd``). Chunks (zstd, lz4) and single messages (zstd) may be compressed as well.
"""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, cast

from rosbags.interfaces import Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime
from rosbags.rosbag2 import CompressionFormat, CompressionMode, Reader, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from dkt_ros.bag_files import (
    SUFFIXES,
    ZSTD_MAGIC,
    has_plain_path,
    is_no_room,
    is_storage,
    log_of,
    storage_files,
    unpack,
    unpack_file,
    with_log,
)
from dkt_ros.mcap_repair import repair_mcap

#: What opening or reading a damaged file may raise: the errors of rosbags, sqlite3, struct, zstd, lz4 and yaml, which
#: have no common base.
DAMAGE = Exception


class BagError(Exception):
    """A bag cannot be used at all; the message names the file, what is wrong and the remedy."""


@dataclass(frozen=True)
class RawMessage:
    """One message as it stands in the bag: ``data`` is CDR, ``time_ns`` when it was recorded (not its header stamp)."""

    topic: str
    type: str
    time_ns: int
    data: bytes


class RawMessages(Protocol):
    """Recorded messages, wherever they are kept; see ``Bag``."""

    def messages(self, topics: Collection[str] | None = None) -> Iterator[RawMessage]:
        """Those of these topics in order of recording."""

    def decode(self, message: RawMessage) -> Any:
        """As an object with the fields of its ROS type."""


class Bag:
    """A bag opened for reading. Use as a context manager; ``messages`` can be called any number of times.

    metadata.yaml only says in which order the files of the folder are read. What it names elsewhere is not opened.

    Attributes:
        path: as given.
        topics: name -> message type, e.g. ``{"/camera/color/camera_info": "sensor_msgs/msg/CameraInfo"}``.
        problem: "" or one sentence about damage: the file, what could be read, the remedy. Set on opening or, where the
            damage only shows there, by ``messages``. What could be read has been yielded.

    Raises (on entering):
        BagError: the path does not exist, holds no storage file, or nothing in it can be read; or there is no room in
            TMPDIR for what has to be unpacked or mended.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.topics: dict[str, str] = {}
        self.problem = ""
        self._readers: list[Reader] = []
        self._typestore = get_typestore(Stores.ROS2_KILTED)
        self._stack = ExitStack()

    def __enter__(self) -> Bag:
        if not self.path.exists():
            raise BagError(f"bag {self.path}: no such file or folder")
        if self.path.is_file() and not is_storage(self.path):
            raise BagError(f"bag {self.path}: a bag is a folder with metadata.yaml, a .mcap or a .db3 file")
        try:
            self._open()
        except BaseException:
            self._stack.close()
            raise
        for reader in self._readers:
            self.topics.update({c.topic: c.msgtype for c in reader.connections})
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def messages(self, topics: Collection[str] | None = None) -> Iterator[RawMessage]:
        """The messages of these topics (None: all) in order of recording, each file of the bag after the other."""
        count = 0
        for reader in self._readers:
            wanted = [c for c in reader.connections if topics is None or c.topic in topics]
            if not wanted:
                continue
            try:
                for connection, time_ns, data in reader.messages(connections=wanted):
                    count += 1
                    whole = unpack(data) if data[:4] == ZSTD_MAGIC else data
                    yield RawMessage(connection.topic, connection.msgtype, time_ns, whole)
            except DAMAGE as error:
                self.problem = self.problem or (
                    f"bag {self.path}: damaged ({error}); {count} messages were read up to there and are used; "
                    f"{_remedy(self.path)}"
                )

    def decode(self, message: RawMessage) -> Any:
        """The message as an object with the fields of its ROS type (arrays are read-only numpy arrays).

        Raises:
            BagError: the bytes are not a message of that type.
        """
        try:
            return self._typestore.deserialize_cdr(message.data, message.type)
        except DAMAGE as error:
            where = f"{message.topic} at {message.time_ns} ns"
            raise BagError(f"bag {self.path}: {where} is no {message.type}: {error}") from None

    def _open(self) -> None:
        files, damage = storage_files(self.path)
        if not files:
            raise BagError(f"bag {self.path}: no readable bag ({damage}) and no .mcap or .db3 file in it")
        lost = [note for file in files if (note := self._add(file))]
        count = sum(reader.message_count for reader in self._readers)
        if lost and not count:
            raise BagError(f"bag {self.path}: nothing can be read: {'; '.join(lost)}; {_remedy(self.path)}")
        if detail := "; ".join(lost) or damage:
            self.problem = (
                f"bag {self.path}: {detail}; {count} messages could be read and are used; {_remedy(self.path)}"
            )

    def _add(self, file: Path) -> str:
        """Open one storage file, unpacked and mended if need be; "" or what is lost of it."""
        name, lost = file.name, ""
        try:
            if file.suffix not in SUFFIXES:
                packed, file = file, self._scratch(Path(file.stem).suffix)
                lost = unpack_file(packed, file)
            elif file.suffix == ".db3" and (log := log_of(file)):
                with_log(file, log, whole := self._scratch(".db3"))
                file = whole
            elif file.suffix == ".db3" and not has_plain_path(file):
                plain = self._scratch(".db3")
                plain.symlink_to(file.absolute())
                file = plain
            try:
                self._enter(Reader(file))
            except DAMAGE:
                if file.suffix != ".mcap":
                    raise
                mended = self._scratch(".mcap")
                missing = repair_mcap(file, mended)
                self._enter(Reader(mended))
                lost = lost or f"{name} is cut off: {missing} bytes at its end belong to no whole record"
        except BagError:
            raise
        except DAMAGE as error:
            if is_no_room(error):
                raise self._no_room(f"no room to unpack {name}", error) from None
            told = f"{name}: {str(error).replace(str(file), name)}"
            return f"{lost}; {told}" if lost else told
        return lost

    def _enter(self, reader: Reader) -> None:
        self._readers.append(self._stack.enter_context(reader))

    def _scratch(self, suffix: str) -> Path:
        """Where a storage file can be written; it goes when the bag is closed."""
        try:
            folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="dkt_bag_")))
        except OSError as error:
            raise self._no_room("no folder can be made to unpack it", error) from None
        if suffix == ".db3" and not has_plain_path(folder):
            raise BagError(
                f"bag {self.path}: sqlite cannot read in {folder.parent}, for a ?, # or % in its name; "
                "set TMPDIR to a folder without"
            )
        return folder / f"bag{suffix}"

    def _no_room(self, what: str, error: Exception) -> BagError:
        cause = getattr(error, "strerror", None) or error
        return BagError(
            f"bag {self.path}: {what} in {tempfile.tempdir or 'any temporary folder'} ({cause}); "
            "set TMPDIR to a folder on a larger disk"
        )


class BagWriter:
    """Write one MCAP bag (folder with metadata.yaml), its chunks zstd-compressed, for ``ros2 bag play`` and Foxglove.

    Raises:
        BagError: the folder exists already.
    """

    def __init__(self, folder: Path | str) -> None:
        self._typestore = get_typestore(Stores.ROS2_KILTED)
        self._connections: dict[str, Any] = {}
        folder = Path(folder)
        if folder.exists():
            raise BagError(f"bag {folder}: exists already; remove it or choose another name")
        # Version 8: what Humble's and Jazzy's rosbag2 can read too.
        self._writer = Writer(folder, version=8, storage_plugin=StoragePlugin.MCAP)
        self._writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)

    def __enter__(self) -> BagWriter:
        self._writer.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._writer.close()
        else:
            self._writer.abort()

    @property
    def types(self) -> Any:
        """Message classes by name, e.g. ``types["sensor_msgs/msg/CameraInfo"]``."""
        return self._typestore.types

    def write(self, topic: str, message: Any, time_ns: int) -> None:
        """Serialise a message made from ``types`` and write it."""
        data = self._typestore.serialize_cdr(message, message.__msgtype__)
        self.write_raw(topic, message.__msgtype__, time_ns, cast(bytes, data))

    def write_raw(self, topic: str, kind: str, time_ns: int, data: bytes) -> None:
        """Write CDR bytes as they are."""
        self.declare(topic, kind)
        self._writer.write(self._connections[topic], time_ns, data)

    def declare(self, topic: str, kind: str, latched: bool = False) -> None:
        """Make the topic known to the bag, also if no message follows. ``latched``: transient local, as /tf_static."""
        if topic not in self._connections:
            self._connections[topic] = self._writer.add_connection(
                topic, kind, typestore=self._typestore, offered_qos_profiles=[_qos(latched)]
            )


def _qos(latched: bool) -> Qos:
    forever = QosTime(9223372036, 854775807)
    return Qos(
        history=QosHistory.KEEP_LAST,
        depth=10,
        reliability=QosReliability.RELIABLE,
        durability=QosDurability.TRANSIENT_LOCAL if latched else QosDurability.VOLATILE,
        deadline=forever,
        lifespan=forever,
        liveliness=QosLiveliness.AUTOMATIC,
        liveliness_lease_duration=forever,
        avoid_ros_namespace_conventions=False,
    )


def _remedy(path: Path) -> str:
    names = sorted(f.name for f in path.iterdir() if is_storage(f)) if path.is_dir() else [path.name]
    mend = " or ".join(
        f"`mcap recover {name} -o mended.mcap`" if name.endswith(".mcap") else f"`sqlite3 {name} .recover`"
        for name in names[:2]
        if name.endswith(SUFFIXES)
    )
    return f"copy or record it again{f', or mend it for good with {mend}' if mend else ''}"

"""The published TransPhy3D by its conventions, from tars made here; and tars that are damaged, foreign or hostile."""

from __future__ import annotations

import io
import json
import struct
import tarfile
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from dkt_ros.training import sequence_tar, transphy3d
from dkt_ros.training.sequences import Sequence, SequenceError, load_sequence, load_video, save_sequence

from .toy import toy_sequence

H, W = 12, 16
FOCAL = 1.3737
Members = dict[str, bytes]


def png(pixels: np.ndarray) -> bytes:
    return cv2.imencode(".png", pixels)[1].tobytes()


def published(frames: int = 3, name: str = "0827_table_with_robot_0001") -> Members:
    """A tar's members as the set's own writer would have made them; nothing here is our writer's."""
    members: Members = {}
    for frame in range(frames):
        v, u = np.mgrid[:H, :W]
        image = np.stack([u * 10, v * 10, np.full_like(u, frame)], -1).astype(np.uint8)
        share = np.full((H, W), 0.25)
        share[0, 0] = 1.0
        normal = np.broadcast_to(np.array([127.5, 127.5 + 127.5 * 0.6, 127.5 + 127.5 * 0.8]), (H, W, 3)).round()
        normal = normal.astype(np.uint8)
        normal[0, 0] = 128
        world_to_camera = np.eye(4)
        world_to_camera[:3, 3] = [0, 0, 2 + frame]
        camera = {"intrinsics": [[FOCAL, 0, 0.5], [0, FOCAL, 0.5], [0, 0, 1]], "extrinsics": world_to_camera.tolist()}
        start = f"{name}_{frame:08d}"
        members[f"{start}.image.png"] = png(image[..., ::-1])
        members[f"{start}.depth.png"] = png(np.round(share * 65535).astype(np.uint16))
        members[f"{start}.depth.json"] = json.dumps({"max_depth": 4.0 + frame}).encode()
        members[f"{start}.normal.png"] = png(normal[..., ::-1])
        members[f"{start}.metadata.json"] = json.dumps({"camera_matrices": camera, "frame_id": frame}).encode()
    return members


def write(path: Path, members: Members, mode: str = "w:") -> Path:
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def of(members: Members, frame: int, kind: str) -> str:
    return next(name for name in members if name.endswith(f"_{frame:08d}.{kind}"))


def test_the_published_set_is_read_by_its_conventions(tmp_path: Path) -> None:
    video = load_video(write(tmp_path / "0827_table_with_robot_0001.tar", published()))
    assert not isinstance(video, Sequence)
    assert video.rgb[1, 3, 5].tolist() == [50, 30, 1]
    np.testing.assert_allclose(video.depth[:, 5, 5], [1.0, 1.25, 1.5], atol=6 / 65535)
    assert np.isnan(video.depth[:, 0, 0]).all() and np.isfinite(video.depth).sum() == 3 * (H * W - 1)
    camera = video.intrinsics
    assert (camera.fx, camera.fy) == pytest.approx((FOCAL * W, FOCAL * W)), "both by the width: pixels are square"
    assert (camera.cx, camera.cy) == ((W - 1) / 2, (H - 1) / 2), "the middle of the picture, by our pixel centres"
    np.testing.assert_allclose(video.camera_to_world[:, :3, 3], [[0, 0, -2], [0, 0, -3], [0, 0, -4]])
    assert video.normals is not None and np.isnan(video.normals[:, 0, 0]).all()
    np.testing.assert_allclose(video.normals[1, 4, 4], [0, -0.6, -0.8], atol=0.008)
    assert video.stamps_ns.tolist() == [0, 41666667, 83333333] and video.meta == {}
    assert [frame.sensor_depth for frame in video.frames()] == [None] * 3


def test_ours_is_read_by_readers_of_the_published_set(tmp_path: Path) -> None:
    """Reads the members as independent readers do: normalised camera, world to camera, Blender's axes of normals."""
    sequence = toy_sequence(3, frames=2)
    turn = cv2.Rodrigues(np.array([0.3, -0.5, 0.2]))[0]
    sequence.camera_to_world[1, :3] = np.column_stack([turn, [0.5, -1.0, 2.0]])
    save_sequence(tmp_path / "000003.tar", sequence)
    with tarfile.open(tmp_path / "000003.tar") as tar:
        names = tar.getnames()
        files = {name.partition(".")[2]: tar.extractfile(name).read() for name in names if "00000001." in name}  # type: ignore[union-attr]
    kinds = (
        "image.png depth.png depth.json normal.png metadata.json background.png sensor.png material.png instance.png"
    )
    assert names[:9] == [f"000003_00000000.{kind}" for kind in kinds.split()]
    pictures = {
        kind: cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        for kind, data in files.items()
        if kind.endswith("png")
    }
    max_depth = json.loads(files["depth.json"])["max_depth"]
    depth = pictures["depth.png"] / 65535 * max_depth
    np.testing.assert_allclose(depth, sequence.depth[1], atol=max_depth / 65535)
    normal = (pictures["normal.png"][..., ::-1] / 127.5 - 1) * [1, -1, -1]
    np.testing.assert_allclose(normal, sequence.normals[1].astype(float), atol=0.005)
    assert pictures["sensor.png"].dtype == np.uint16 and pictures["material.png"].dtype == np.uint8
    # A point of the world, projected with the stored matrices, falls where its pixel is, counted from the corner.
    v, u, camera = 7, 31, sequence.intrinsics
    z = float(sequence.depth[1, v, u])
    local = np.array([(u - camera.cx) / camera.fx * z, (v - camera.cy) / camera.fy * z, z, 1])
    matrices = json.loads(files["metadata.json"])["camera_matrices"]
    seen = np.array(matrices["extrinsics"]) @ sequence.camera_to_world[1] @ local
    k = np.array(matrices["intrinsics"])
    assert seen[2] == pytest.approx(z)
    assert (k[0, 0] * seen[0] / z + k[0, 2]) * 48 == pytest.approx(u + 0.5)
    assert k[1, 1] * 48 * seen[1] / z + k[1, 2] * 32 == pytest.approx(v + 0.5), "focal by width, centre by height"


def test_frames_without_depth_are_left_out_and_counted(tmp_path: Path) -> None:
    members = published(4)
    members[of(members, 1, "depth.json")] = b'{"max_depth": 0.0}'
    video = load_video(write(tmp_path / "a.tar", members))
    assert video.meta == {"frames_without_depth": 1}
    assert video.rgb[:, 0, 0, 2].tolist() == [0, 2, 3]
    assert video.stamps_ns.tolist() == [0, 83333333, 125000000], "time goes on over them"
    assert load_video(tmp_path / "a.tar", [1]).rgb[:, 0, 0, 2].tolist() == [2]
    for frame in range(4):
        members[of(members, frame, "depth.json")] = b'{"max_depth": 0}'
    with pytest.raises(SequenceError, match="max_depth is 0 in all of its 4 frames"):
        load_video(write(tmp_path / "b.tar", members))


def test_order_folders_strangers_and_other_types_of_picture_do_not_matter(tmp_path: Path) -> None:
    members = published()
    plain = load_video(write(tmp_path / "a.tar", members))
    image = cv2.imdecode(np.frombuffer(members[of(members, 0, "image.png")], np.uint8), cv2.IMREAD_COLOR)
    members[of(members, 0, "image.png")] = png(cv2.cvtColor(image, cv2.COLOR_BGR2BGRA))
    eight = np.full((H, W), 64, np.uint8)
    eight[0, 0] = 255
    members[of(members, 0, "depth.png")] = png(eight)
    members[of(members, 0, "depth.json")] = json.dumps({"max_depth": 255 / 64}).encode()
    normal = cv2.imdecode(np.frombuffer(members[of(members, 2, "normal.png")], np.uint8), cv2.IMREAD_COLOR)
    members[of(members, 2, "normal.png")] = png(normal.astype(np.uint16) * 257)
    shuffled = {f"./test/{name}": content for name, content in reversed(members.items())}
    shuffled |= {"README.md": b"hello", "a_00000000.image.txt": b"", "._a_00000000.image.png": b"AppleDouble"}
    other = load_video(write(tmp_path / "b.tar", shuffled))
    np.testing.assert_array_equal(other.rgb, plain.rgb)
    np.testing.assert_allclose(other.depth, plain.depth, atol=6 / 65535)
    np.testing.assert_allclose(other.normals, plain.normals, atol=1e-3)
    np.testing.assert_array_equal(other.camera_to_world, plain.camera_to_world)


def test_normals_and_poses_may_be_absent_altogether(tmp_path: Path) -> None:
    members = {name: content for name, content in published().items() if "normal" not in name}
    for frame in range(3):
        name = of(members, frame, "metadata.json")
        record = json.loads(members[name])
        del record["camera_matrices"]["extrinsics"]
        members[name] = json.dumps(record).encode()
    video = load_video(write(tmp_path / "a.tar", members))
    assert video.normals is None and video.camera_to_world is None and len(video) == 3


def test_who_needs_a_sequence_is_told_what_the_published_set_lacks(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tar", published())
    with pytest.raises(SequenceError, match=r"a\.tar: frames have no background\.png, sensor\.png.*render wrote"):
        load_sequence(path)


def changed(kind: str, content: bytes) -> Members:
    members = published()
    members[of(members, 1, kind)] = content
    return members


def camera(matrices: object) -> bytes:
    return json.dumps({"camera_matrices": matrices}).encode()


def bomb() -> bytes:
    """A PNG that says it is 60000 pixels wide and high."""
    header = b"IHDR" + struct.pack(">IIBBBBB", 60000, 60000, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))


ONE = np.eye(3).tolist()


@pytest.mark.parametrize(
    ("kind", "content", "says"),
    [
        ("depth.json", b"", "depth.json is no JSON"),
        ("depth.json", b"[" * 100_000, "depth.json is no JSON"),
        ("depth.json", b"[1]", "holds a list, expected a JSON object"),
        ("depth.json", b"{}", "max_depth = None"),
        ("depth.json", b'{"max_depth": NaN}', "max_depth = nan"),
        ("depth.json", b'{"max_depth": -1}', "max_depth = -1"),
        ("depth.json", b'{"max_depth": 1' + b"0" * 400 + b"}", "expected metres"),
        ("depth.png", png(np.zeros((H, W, 3), np.uint8)), r"depth.png is uint8\(12, 16, 3\), expected one channel"),
        ("depth.png", png(np.zeros((H, W + 1), np.uint16)), "depth.png is of 17x12 pixels, the first image of 16x12"),
        ("image.png", png(np.zeros((H + 1, W, 3), np.uint8)), "image.png is of 16x13 pixels"),
        ("normal.png", png(np.zeros((H, W), np.uint8)), "normal.png has shape"),
        ("image.png", b"\xff\xd8\xff\xe0 a JPEG", "image.png is no PNG"),
        ("image.png", bomb(), "image.png is of 60000x60000 pixels"),
        ("image.png", png(np.zeros((H, W, 3), np.uint8))[:-20], "image.png is (cut short|damaged) at byte"),
        ("metadata.json", b"{}", "metadata.json has no camera_matrices"),
        ("metadata.json", camera({"intrinsics": "wide"}), "intrinsics that are no numbers"),
        ("metadata.json", camera({"intrinsics": [[10**400, 0, 0]]}), "intrinsics that are no numbers"),
        ("metadata.json", camera({"intrinsics": [[0, 0, 0.5], [0, 0, 0.5], [0, 0, 1]]}), "cannot be inverted"),
        ("metadata.json", camera({"intrinsics": [[-1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]]}), "focal length fx = -16"),
        ("metadata.json", camera({"intrinsics": ONE, "extrinsics": ONE}), "no finite 4x4 matrix"),
        ("metadata.json", camera({"intrinsics": ONE}), "other intrinsics than the first frame"),
        ("metadata.json", b'{"camera_matrices": {"intrinsics": [[1.3737,0,0.5],[0,1.3737,0.5],[0,0,1]]}}', "1 of 3"),
    ],
)
def test_a_wrong_member_is_named(tmp_path: Path, kind: str, content: bytes, says: str) -> None:
    with pytest.raises(SequenceError, match=rf"a\.tar: .*{says}.*; download it again, or .*render its seed again"):
        load_video(write(tmp_path / "a.tar", changed(kind, content)))


def ours(tmp_path: Path) -> Members:
    save_sequence(tmp_path / "000003.tar", toy_sequence(3, frames=2, height=26, width=28))
    with tarfile.open(tmp_path / "000003.tar") as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("leave_out", "says"),
    [
        ("00000001.depth.json", "frame 1 lacks depth.json"),
        ("00000001.sensor.png", "frame 1 lacks sensor.png"),
        ("sensor.png", "frames have .* but no sensor.png"),
        ("normal.png", "frames have no normal.png"),
        ("00000001.", "has 1 of 2 frames"),
        ("00000000.", "metadata.json lacks stamp_ns in some frame, or meta in the first"),
    ],
)
def test_missing_members_of_ours_are_named(tmp_path: Path, leave_out: str, says: str) -> None:
    members = {name: content for name, content in ours(tmp_path).items() if leave_out not in name}
    with pytest.raises(SequenceError, match=says):
        load_video(write(tmp_path / "a.tar", members))


def test_our_masks_and_millimetres_have_one_type(tmp_path: Path) -> None:
    for kind, pixels, says in (
        ("sensor.png", np.zeros((26, 28), np.uint8), "expected one channel of uint16"),
        ("material.png", np.zeros((26, 28), np.uint16), "expected one channel of uint8"),
        ("material.png", np.full((26, 28), 7, np.uint8), "material 7, known are 0 to 6"),
    ):
        members = ours(tmp_path)
        members[of(members, 1, kind)] = png(pixels)
        with pytest.raises(SequenceError, match=says):
            load_sequence(write(tmp_path / "a.tar", members))


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.6, 0.9])
def test_a_cut_tar_is_refused_by_name(tmp_path: Path, keep: float) -> None:
    ours(tmp_path)
    path = tmp_path / "000003.tar"
    path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])
    with pytest.raises(SequenceError, match=r"000003\.tar: cut short.*render its seed again"):
        load_sequence(path)


def test_a_tar_cut_between_two_members_is_noticed(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tar", published())
    with tarfile.open(path) as tar:
        ends = [member.offset for member in tar][5:]
    whole = path.read_bytes()
    for end in ends:
        path.write_bytes(whole[:end])
        with pytest.raises(SequenceError, match=rf"cut short or damaged at byte {end}"):
            load_video(path)


def test_a_flipped_byte_never_changes_a_picture(tmp_path: Path) -> None:
    ours(tmp_path)
    path = tmp_path / "000003.tar"
    whole, good = path.read_bytes(), load_sequence(path)
    rng = np.random.default_rng(0)
    refused = 0
    for at in rng.integers(0, len(whole), 150):
        data = bytearray(whole)
        data[at] ^= int(rng.integers(1, 256))
        path.write_bytes(data)
        try:
            loaded = load_sequence(path)
        except SequenceError as error:
            assert "000003.tar" in str(error)
            refused += 1
        else:
            for name in ("rgb", "normals", "sensor_depth", "material", "instance"):
                np.testing.assert_array_equal(getattr(loaded, name), getattr(good, name))
    assert refused > 30


def test_foreign_and_hostile_archives_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    members = published()
    twice = [(name, members[name]) for name in members] + [(of(members, 0, "image.png"), b"")]
    with tarfile.open(tmp_path / "twice.tar", "w:") as tar:
        for name, content in twice:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    with tarfile.open(tmp_path / "link.tar", "w:") as tar:
        member = tarfile.TarInfo("a_00000000.image.png")
        member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(member)
    (tmp_path / "text.tar").write_text("not a tar at all\n" * 100)
    write(tmp_path / "zipped.tar", members, "w:gz")
    write(tmp_path / "foreign.tar", {"photos/1.jpg": b"x", "../../etc/passwd": b"x"})
    write(tmp_path / "two.tar", {**members, **published(name="0826_0002")})
    write(tmp_path / "empty.tar", {})
    for name, says in {
        "twice": "image.png stands in it twice",
        "link": "holds no frame of a sequence",
        "text": "not an uncompressed tar",
        "zipped": "not an uncompressed tar",
        "foreign": "holds no frame of a sequence",
        "two": "holds several sequences .0826_0002, 0827_table_with_robot_0001., expected one per tar",
        "empty": "holds no frame of a sequence",
    }.items():
        with pytest.raises(SequenceError, match=rf"{name}\.tar: .*{says}"):
            load_video(tmp_path / f"{name}.tar")
    monkeypatch.setattr(sequence_tar, "MAX_BYTES", 90)
    with pytest.raises(SequenceError, match="bytes, more than the 90 of any picture"):
        load_video(write(tmp_path / "large.tar", members))


def test_no_surface_saturates_and_none_is_zero() -> None:
    depth = np.array([[1e-6, 0.5, 3.0], [2.9999, np.nan, 1.0]], np.float32)
    scale = transphy3d.depth_scale(depth)
    pixels = transphy3d.encode_depth(depth, scale)
    assert pixels.min() == 1 and pixels[1, 1] == 65535 and pixels[0, 2] < transphy3d.SATURATED * 65535
    np.testing.assert_array_equal(np.isnan(transphy3d.decode_depth(pixels, scale)), np.isnan(depth))

"""Published evaluation sets in miniature: the layouts and encodings of the real ones, made here, with values known."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

#: Height and width of the pictures.
H, W = 48, 64
FOCAL = 60.0
#: The scene: two planes 1/z = a x + b y + c that meet in the middle column; (a, b, c) of the left and of the right one.
PLANES = ((0.5, 0.3, 1.5), (-0.4, 0.3, 1.5))


def picture(path: Path, pixels: np.ndarray) -> Path:
    """PNG or JPEG by the name; RGB or one channel."""
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR) if pixels.ndim == 3 else pixels)
    return path


def exr(path: Path, plane: np.ndarray, dtype: type = np.float32) -> Path:
    """Three equal channels, or the three that ``plane`` has."""
    import OpenEXR

    path.parent.mkdir(parents=True, exist_ok=True)
    rgb = plane if plane.ndim == 3 else np.repeat(plane[..., None], 3, -1)
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    with OpenEXR.File(header, {"RGB": np.ascontiguousarray(rgb.astype(dtype))}) as file:
        file.write(str(path))
    return path


def colours(number: int, shape: tuple[int, int] = (H, W)) -> np.ndarray:
    """(H, W, 3) uint8; red says which frame it is."""
    v, u = np.mgrid[: shape[0], : shape[1]]
    return np.stack([np.full(shape, 10 * number), 3 * u, 3 * v], axis=-1).astype(np.uint8)


def roof() -> tuple[np.ndarray, np.ndarray]:
    """Depth (H, W) in metres, 0.5 to 0.9, and normals (H, W, 3) in the optical frame, toward the camera."""
    v, u = np.mgrid[:H, :W]
    x, y = (u - (W - 1) / 2) / FOCAL, (v - (H - 1) / 2) / FOCAL
    coefficients = np.where((x < 0)[..., None], PLANES[0], PLANES[1])
    depth = 1 / (coefficients * np.stack([x, y, np.ones_like(x)], -1)).sum(-1)
    return depth, -coefficients / np.linalg.norm(coefficients, axis=-1, keepdims=True)


def twice(plane: np.ndarray) -> np.ndarray:
    """Each pixel as four."""
    return np.repeat(np.repeat(plane, 2, axis=0), 2, axis=1)


def mat(path: Path, records: dict[str, dict[str, object]]) -> Path:
    """A MATLAB 5 file whose variables are called as frames are; scipy writes no such names, so they come in after."""
    from scipy.io import savemat

    path.parent.mkdir(parents=True, exist_ok=True)
    savemat(path, {f"f{name[1:]}": record for name, record in records.items()}, do_compression=False)
    data = path.read_bytes()
    for name in records:
        assert data.count(f"f{name[1:]}".encode()) == 1
        data = data.replace(f"f{name[1:]}".encode(), name.encode())
    path.write_bytes(data)
    return path


def clearpose(
    root: Path,
    scene: str = "set2/scene1",
    frames: Sequence[int] = (0, 3, 10),
    camera: str = "intrinsic_matrix",
    factor: float = 1000.0,
    signs: tuple[float, float, float] | None = (1, -1, -1),
    depth: np.ndarray | None = None,
    poses: Mapping[int, np.ndarray] | None = None,
) -> Path:
    """Row 0 of the truth and row 1 of the sensor are 0; labels 5, 63, 199, 200 and 212 stand in row 2.

    ``depth`` is (H, W), or (frames, H, W)."""
    folder = root / scene
    truth, normals = roof()
    truths = np.broadcast_to(truth if depth is None else depth, (len(frames), H, W))
    records = {}
    for truth, number in zip(truths, frames, strict=True):
        stem = f"{number:06d}"
        stored = np.rint(truth * factor).astype(np.uint16)
        sensor = stored + np.uint16(factor // 10)
        stored[0], sensor[1] = 0, 0
        labels = np.zeros((H, W), np.uint8)
        labels[2, :5] = 5, 63, 199, 200, 212
        picture(folder / f"{stem}-color.png", colours(number))
        picture(folder / f"{stem}-depth_true.png", stored)
        picture(folder / f"{stem}-depth.png", sensor)
        picture(folder / f"{stem}-label.png", labels)
        if signs:
            coded = np.rint(127.5 * (normals * signs + 1)).astype(np.uint8)
            coded[0] = 0  # black: no normal
            picture(folder / f"{stem}-normal_true.png", coded)
        matrix = np.array([[FOCAL, 0, 31.5 + number], [0, FOCAL + 1, 23.5], [0, 0, 1]])
        records[stem] = {"cls_indexes": np.array([[5], [63]]), camera: matrix, "factor_depth": np.array([[factor]])}
        if poses:
            records[stem]["rotation_translation_matrix"] = poses[number]
    mat(folder / "metadata.mat", records)
    return root


META = (
    "7 1 02876657 bottle_a 0.2 2 1 0 0 0 0 0 1\n3 0 other box 0.1 3 1 0 0 0 0 0 1\n9 0 other cup 0.1 1 1 0 0 0 0 0 1\n"
)


def std(root: Path, scene: str = "test_0", frames: Sequence[int] = (2, 9, 10), meta: str = META) -> Path:
    """Colours and sensor twice as fine as the truth; 0 and NaN in one truth; objects 7, 3 and 9 stand in row 2."""
    truth, _ = roof()
    for number in frames:
        stem = root / scene / f"{number:04d}"
        picture(stem.with_name(f"{stem.name}_color.png"), colours(number, (2 * H, 2 * W)))
        stored = truth.copy()
        stored[0, 0], stored[0, 1], stored[0, 2] = 0, np.nan, 3.5
        exr(stem.with_name(f"{stem.name}_gt_depth.exr"), stored)
        exr(stem.with_name(f"{stem.name}_depth_415.exr"), twice(stored + 0.05), np.float16)
        mask = np.full((H, W), 255, np.uint8)
        mask[2, :3] = 7, 3, 9
        picture(stem.with_name(f"{stem.name}_mask.png"), twice(mask))
        stem.with_name(f"{stem.name}_meta.txt").write_text(meta)
    return root


def dreds(
    root: Path, scene: str = "test/00001", frames: Sequence[int] = (4,), truth_end: str = "_depth_120.exr"
) -> Path:
    """Simulated stereo twice as fine as the colours, below zero, zero and infinite in row 1; objects in row 2."""
    truth, _ = roof()
    for number in frames:
        stem = root / scene / f"{number:04d}"
        picture(stem.with_name(f"{stem.name}_color.png"), colours(number))
        exr(stem.with_name(f"{stem.name}{truth_end}"), truth)
        stereo = truth + 0.05
        stereo[1, :3] = -0.5, 0, np.inf
        exr(stem.with_name(f"{stem.name}_simDepthImage.exr"), twice(stereo))
        mask = np.full((H, W), 255.0)
        mask[2, :3] = 7, 3, 9
        exr(stem.with_name(f"{stem.name}_mask.exr"), mask / 255)
        stem.with_name(f"{stem.name}_meta.txt").write_text(META)
    return root


def cleargrasp(root: Path, folder: str = "real-test/d435", numbers: Sequence[int] = (80,), camera: bool = True) -> Path:
    """Half float; truth 0 in one corner, NaN in the other; normals in OpenGL axes, (-1, -1, -1) in row 0."""
    truth, normals = roof()
    coded = normals * (1, -1, -1)
    coded[0] = -1
    stored, mask = truth.copy(), np.zeros((H, W), np.uint8)
    stored[0, 0], stored[0, -1], mask[2:4, 2:5] = 0, np.nan, 255
    for number in numbers:
        stem = root / folder / f"{number:09d}"
        picture(stem.with_name(f"{stem.name}-transparent-rgb-img.jpg"), colours(3))
        exr(stem.with_name(f"{stem.name}-opaque-depth-img.exr"), stored, np.float16)
        exr(stem.with_name(f"{stem.name}-transparent-depth-img.exr"), stored + 0.05, np.float16)
        picture(stem.with_name(f"{stem.name}-mask.png"), mask)
        exr(stem.with_name(f"{stem.name}-normals.exr"), coded, np.float16)
    if camera:
        text = f"fx: {2 * FOCAL}\nfy: {2 * FOCAL}\ncx: 63.5\ncy: 47.5\nxres: {2 * W}\nyres: {2 * H}\n"
        (root / folder / "camera_intrinsics.yaml").write_text(text)
    return root


def transcg(root: Path, scenes: Sequence[int] = (5, 12), listed: Sequence[int] = (5, 12), prefix: bool = True) -> Path:
    """Places 0 and 2 of each scene, place 2 not valid for the L515; the truth 0 in row 0; glass in row 2."""
    truth, _ = roof()
    for index, name in enumerate(("D435", "L515"), 1):
        matrix = np.array([[FOCAL * index, 0, 31.5], [0, FOCAL * index, 23.5], [0, 0, 1]])
        file = root / "camera_intrinsics" / f"{f'{index}-' if prefix else ''}camIntrinsics-{name}.npy"
        file.parent.mkdir(parents=True, exist_ok=True)
        np.save(file, matrix)
    for scene in scenes:
        for place in (0, 2):
            folder = root / f"scene{scene}" / str(place)
            for index, factor in ((1, 1000), (2, 4000)):
                stored, mask = np.rint(truth * factor).astype(np.uint16), np.zeros((H, W), np.uint8)
                stored[0], mask[2] = 0, 1
                picture(folder / f"rgb{index}.png", colours(scene))
                picture(folder / f"depth{index}.png", stored + np.uint16(factor // 10))
                picture(folder / f"depth{index}-gt.png", stored)
                picture(folder / f"depth{index}-gt-mask.png", mask)
        record = {"type": "cluttered", "split": "test", "D435_valid_perspective_list": [0, 2]}
        (folder.parent / "metadata.json").write_text(json.dumps(record | {"L515_valid_perspective_list": [0]}))
    (root / "metadata.json").write_text(json.dumps({"total_scenes": 130, "train": [1], "test": list(listed)}))
    return root


def kitti(root: Path, drive: str = "2011_09_26_drive_0002_sync", part: str = "val") -> Path:
    """Pictures of 1242x375, truth of frames 5 and 6: 10 m, but 0 in row 300 and in every odd column."""
    date = drive[:10]
    truth = np.full((375, 1242), 2560, np.uint16)
    truth[300], truth[:, 1::2] = 0, 0
    for number in range(7):
        picture(root / f"raw/{date}/{drive}/image_02/data/{number:010d}.png", colours(number, (375, 1242)))
    for number in (5, 6):
        picture(root / f"depth/{part}/{drive}/proj_depth/groundtruth/image_02/{number:010d}.png", truth)
    return root


def scannet(root: Path, scene: str = "scene0707_00", end: str = ".npz", poses: bool = True) -> Path:
    """Colours twice as fine as the truth; frames 0, 9, 10; 0 in row 0; the pose of frame 9 is not finite."""
    truth = np.rint(1000 * roof()[0]).astype(np.uint16)
    truth[0] = 0
    folder = root / scene
    for number in (0, 9, 10):
        picture(folder / f"color/{number}.jpg", colours(number, (2 * H, 2 * W)))
        if end == ".npz":
            (folder / "depth").mkdir(exist_ok=True)
            np.savez(folder / f"depth/{number}.npz", truth)
        else:
            picture(folder / f"depth/{number}{end}", truth)
        if poses:
            (folder / "pose").mkdir(exist_ok=True)
            pose = np.full((4, 4), -np.inf) if number == 9 else np.eye(4)
            pose[0, 3] += number
            np.savetxt(folder / f"pose/{number}.txt", pose)
    if poses:
        (folder / "intrinsic").mkdir(exist_ok=True)
        np.savetxt(folder / "intrinsic/intrinsic_depth.txt", np.diag([FOCAL, FOCAL, 1, 1]) + np.eye(4, k=2) * 20)
    return root


def bonn(root: Path, recording: str = "rgbd_bonn_balloon") -> Path:
    """Four pictures; the truth of the second is 30 ms off, that of the others 10; 0 in row 0."""
    truth = np.rint(5000 * roof()[0]).astype(np.uint16)
    truth[0] = 0
    for number, late in enumerate((0.01, 0.03, -0.01, 0.01)):
        picture(root / recording / f"rgb/{1548266480 + number / 10:.5f}.png", colours(number))
        picture(root / recording / f"depth/{1548266480 + number / 10 + late:.5f}.png", truth)
    return root


def sintel(root: Path, film: str = "alley_1") -> Path:
    """Frames 1 and 2 of 1024x436 in both passes; depth is the column's number in metres, plus one."""
    depth = np.tile(np.arange(1, 1025, dtype="<f4"), (436, 1))
    for number in (1, 2):
        for part in ("final", "clean"):
            picture(root / f"training/{part}/{film}/frame_{number:04d}.png", colours(number, (436, 1024)))
        file = root / f"training/depth/{film}/frame_{number:04d}.dpt"
        file.parent.mkdir(parents=True, exist_ok=True)
        header = np.array([202021.25], "<f4").tobytes() + np.array([1024, 436], "<i4").tobytes()
        file.write_bytes(header + depth.tobytes())
    return root

"""The generator, run as a user runs it: exact geometry, the same for the same seed, and helpful without Blender.

Needs the environment of ``make render-env`` (or DKT_RENDER_PYTHON naming its Python).
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from dkt_ros.training.render import assets
from dkt_ros.training.sequences import SURROUNDINGS, Sequence, load_sequence, sequence_files, sequence_path

ROOT = Path(__file__).parents[2]
PYTHON = Path(os.environ.get("DKT_RENDER_PYTHON", ROOT / ".venv-render/bin/python"))
needs_blender = pytest.mark.skipif(not PYTHON.exists(), reason=f"no {PYTHON}: run `make render-env`")
WIDTH, HEIGHT = 80, 48
SEED = 9003

RAY_CAST = """
import sys, bpy, numpy as np
from mathutils import Vector
from dkt_ros.training.render.scene import build
scene = build(np.random.default_rng([int(sys.argv[1]), int(sys.argv[2])]), 2, 30.0, 80 / 48)
pose, f = scene.path.camera_to_world[0], scene.path.focal * 80
depth = np.full((48, 80), np.nan)
number = np.zeros((48, 80), np.uint8)
graph = bpy.context.evaluated_depsgraph_get()
for v in range(48):
    for u in range(80):
        ray = pose[:3, :3] @ np.array([(u - 39.5) / f, (v - 23.5) / f, 1.0])
        hit, place, _, _, body, _ = bpy.context.scene.ray_cast(graph, Vector(pose[:3, 3]), Vector(ray))
        if hit:
            depth[v, u] = ((np.array(place) - pose[:3, 3]) @ pose[:3, :3])[2]
            number[v, u] = body.pass_index
np.savez(sys.argv[3], depth=depth, number=number)
"""


def run(*arguments: str, python: Path | str = PYTHON) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run([str(python), *arguments], cwd=ROOT, env=environment, capture_output=True, text=True)


def render(out: Path, seed: int = SEED) -> Path:
    size = f"{WIDTH}x{HEIGHT}"
    done = run(
        *f"-m dkt_ros.training.render --seed {seed} --frames 2 --size {size} --samples 2 --out".split(), str(out)
    )
    assert done.returncode == 0, done.stderr
    return sequence_path(out, seed)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("rendered")


@pytest.fixture(scope="module")
def sequence(folder: Path) -> Sequence:
    return load_sequence(render(folder))


def rays(sequence: Sequence) -> np.ndarray:
    camera = sequence.intrinsics
    u, v = np.meshgrid(np.arange(camera.width), np.arange(camera.height))
    return np.stack([(u - camera.cx) / camera.fx, (v - camera.cy) / camera.fy, np.ones(u.shape)], -1)


def world_points(sequence: Sequence) -> np.ndarray:
    """(T, H, W, 3) of the first surface."""
    local = rays(sequence) * sequence.depth[..., None].astype(np.float64)
    pose = sequence.camera_to_world[:, None, None]
    return (
        np.einsum("thwij,thwj->thwi", np.broadcast_to(pose[..., :3, :3], (*local.shape, 3)), local) + pose[..., :3, 3]
    )


@needs_blender
def test_the_same_seed_gives_the_same_bytes_of_depth_and_another_seed_does_not(
    sequence: Sequence, tmp_path: Path
) -> None:
    again, other = load_sequence(render(tmp_path)), load_sequence(render(tmp_path, SEED + 1))
    for name in ("depth", "background_depth", "sensor_depth", "normals", "material", "instance", "camera_to_world"):
        assert getattr(again, name).tobytes() == getattr(sequence, name).tobytes(), name
    assert other.depth.tobytes() != sequence.depth.tobytes()


@needs_blender
def test_the_table_is_the_plane_z_0_with_its_normal_up(sequence: Sequence) -> None:
    z = world_points(sequence)[..., 2]
    table = (sequence.material == SURROUNDINGS) & (np.abs(z) < 0.002)
    assert table.mean() > 0.2
    assert np.sqrt((z[table] ** 2).mean()) < 1e-4
    up = np.einsum("thwi,ti->thw", sequence.normals.astype(float), sequence.camera_to_world[:, 2, :3])
    assert np.median(up[table]) > 0.999


@needs_blender
def test_depth_and_instance_are_of_the_first_surface_glass_included(sequence: Sequence, tmp_path: Path) -> None:
    answer = tmp_path / "rays.npz"
    done = run("-c", RAY_CAST, str(SEED), str(sequence.meta["attempt"]), str(answer))
    assert done.returncode == 0, done.stderr
    with np.load(answer) as cast:
        error = np.abs(cast["depth"] - sequence.depth[0])
        assert (cast["number"] == sequence.instance[0]).mean() > 0.998
    glass = sequence.transparent[0]
    assert glass.sum() > 100
    assert np.nanmedian(error[glass]) < 5e-5 and np.nanmean(error[glass] > 1e-3) < 0.01
    assert np.nanmedian(error) < 5e-5


@needs_blender
def test_background_depth_is_behind_glass_and_the_same_elsewhere(sequence: Sequence) -> None:
    behind = sequence.background_depth - sequence.depth
    np.testing.assert_array_equal(behind[~sequence.transparent & np.isfinite(sequence.depth)], 0)
    assert (behind[sequence.transparent] > 0.003).mean() > 0.9


@needs_blender
def test_normals_are_unit_toward_the_camera_and_agree_with_depth(sequence: Sequence) -> None:
    normals = sequence.normals.astype(np.float64)
    known = np.isfinite(sequence.depth)
    np.testing.assert_allclose(np.linalg.norm(normals, axis=-1)[known], 1, atol=2e-3)
    assert ((normals * rays(sequence)).sum(-1)[known] < 0.02).mean() > 0.999
    points = rays(sequence) * sequence.depth[..., None].astype(np.float64)
    across, down = points[:, 1:-1, 2:] - points[:, 1:-1, :-2], points[:, 2:, 1:-1] - points[:, :-2, 1:-1]
    measured = np.cross(down, across)
    measured /= np.linalg.norm(measured, axis=-1, keepdims=True)
    cosine = (measured * normals[:, 1:-1, 1:-1]).sum(-1)
    assert np.nanmedian(cosine[sequence.material[:, 1:-1, 1:-1] == SURROUNDINGS]) > 0.9999
    assert np.nanmedian(cosine[sequence.transparent[:, 1:-1, 1:-1]]) > 0.9


@needs_blender
def test_the_scene_keeps_its_promises(sequence: Sequence) -> None:
    share = sequence.transparent.mean(axis=(1, 2))
    assert (share >= 0.03).all() and (share <= 0.5).all()
    numbers = {item["instance"] for item in sequence.meta["objects"]}
    assert len(numbers) >= 4
    for instance in sequence.instance:
        assert set(np.unique(instance)) - {0} == numbers, "every object is seen in every frame"
    clear = [item for item in sequence.meta["objects"] if item["material"] in ("glass", "clear plastic")]
    assert 2 * len(clear) >= len(numbers)
    assert sequence.rgb.std() > 5
    np.testing.assert_array_equal(np.diff(sequence.stamps_ns), 33_333_333)


@needs_blender
def test_a_finished_file_is_not_rendered_again(sequence: Sequence, folder: Path) -> None:
    path = sequence_path(folder, SEED)
    before = path.stat().st_mtime_ns
    render(folder)
    assert path.stat().st_mtime_ns == before


@needs_blender
def test_ctrl_c_ends_it_and_leaves_only_whole_files(tmp_path: Path) -> None:
    arguments = f"-m dkt_ros.training.render --seed {SEED} --count 50 --frames 1 --size 80x48 --samples 1".split()
    with subprocess.Popen(
        [str(PYTHON), *arguments, "--out", str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        while not sequence_files(tmp_path) and process.poll() is None:
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate()
    assert process.returncode == 130 and "run the same command to go on" in said
    files = list(tmp_path.iterdir())
    assert 1 <= len(files) < 50
    for path in files:
        load_sequence(path)


def test_help_teaches_without_blender() -> None:
    done = run("-m", "dkt_ros.training.render", "--help", python=sys.executable)
    assert done.returncode == 0
    for word in ("make render-env", "--seed", "--size", "held-out 9500..9519", "160x96"):
        assert word in " ".join(done.stdout.split())


def test_without_blender_it_names_the_remedy(tmp_path: Path) -> None:
    code = (
        "import importlib.util as u; real = u.find_spec; "
        "u.find_spec = lambda n, *a: None if n == 'bpy' else real(n, *a); "
        "from dkt_ros.training.render.__main__ import main; import sys; sys.exit(main(sys.argv[1:]))"
    )
    done = run(
        "-c", code, "--seed", "1", "--frames", "1", "--size", "80x48", "--out", str(tmp_path), python=sys.executable
    )
    assert done.returncode == 2 and "bpy" in done.stderr and "make render-env" in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("wrong", [("--size", "160"), ("--size", "160x0"), ("--frames", "0"), ("--rate", "0")])
def test_wrong_arguments_are_refused_by_name(tmp_path: Path, wrong: tuple[str, str]) -> None:
    good = {"--seed": "1", "--frames": "2", "--size": "80x48", "--out": str(tmp_path)}
    arguments = [part for pair in {**good, wrong[0]: wrong[1]}.items() for part in pair]
    done = run("-m", "dkt_ros.training.render", *arguments, python=sys.executable)
    assert done.returncode == 2 and wrong[0] in done.stderr


@pytest.mark.parametrize("make", assets.VESSELS + assets.SOLIDS, ids=lambda make: make.__name__)
def test_meshes_are_closed_stand_on_the_table_and_face_outward(make: object) -> None:
    for seed in range(5):
        shape = make(np.random.default_rng(seed))  # type: ignore[operator]
        assert abs(shape.vertices[:, 2].min()) < 1e-9 and 0.01 < shape.height < 0.3 and shape.radius < 0.1
        edges: dict[tuple[int, int], int] = {}
        volume = 0.0
        for face in shape.faces:
            for a, b in zip(face, face[1:] + face[:1], strict=True):
                edges[a, b] = edges.get((a, b), 0) + 1
            for i in range(1, len(face) - 1):
                a, b, c = shape.vertices[[face[0], face[i], face[i + 1]]]
                volume += float(np.dot(a, np.cross(b, c))) / 6
        assert all(n == 1 and (b, a) in edges for (a, b), n in edges.items()), "closed and consistently turned"
        assert volume > 0, "faces look outward"

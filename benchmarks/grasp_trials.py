"""Simulated grasping: does better depth make a jaw hold more? Table VI of the DKT paper, repeatable.

    python -m benchmarks.grasp_trials --out out

A trial is one object of one rendered scene, one source of depth, and the best of the planner's grasps on that object,
executed in MuJoCo with the exact bodies: docs/grasping.md. Renders the scenes first where they are missing (needs
`make render-env`). The same command goes on where it stopped; --fresh starts the trials over.

Writes OUT/grasps/SEED.json (every trial), OUT/grasps.json (all of them with the table), OUT/grasps.md, OUT/grasps.png.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.grasp_scenes import Body, bodies_path, load_bodies

Float64 = NDArray[np.float64]

HERE = Path(__file__).parent
RECIPE = HERE / "grasp_scenes.yaml"
#: Seeds that nothing was tuned on, training refuses them; constants were looked at on scenes from 1320 on.
FIRST, COUNT = 9700, 40

GROUPS = {
    "glass": "transparent",
    "clear plastic": "transparent",
    "metal": "mirror-like",
    "ceramic": "ordinary",
    "ordinary": "ordinary",
}
RAW, FILL, OURS, TRUTH = "raw sensor", "best fill", "ours (nano)", "ground truth"
#: Of the classical fills the one that held most on the tuning scenes.
BEST_FILL = "colour guided"
#: An object takes part if the jaw can span it somewhere, and so many pixels of it are seen.
WIDEST_M, LEAST_PIXELS = 0.075, 100
#: A grasp is on the object whose pixels its middle falls on, or is so near to.
NEAR_PIXELS = 3


def clouds(sequence: Any, index: int, fills: dict[str, str]) -> Iterator[tuple[str, Any, Any]]:
    """Name, points and normals (H, W, 3) of each source of depth for one frame; ``fills``: name -> classical fill."""
    from dkt_ros.engines import EngineOptions, load_engine
    from dkt_ros.fills import CLASSICAL_FILLS
    from dkt_ros.geometry import normals_from_depth, unproject
    from dkt_ros.perception import Perception

    camera, sensor = sequence.intrinsics, sequence.sensor_depth[index]
    yield RAW, unproject(sensor, camera), normals_from_depth(sensor, camera)
    for name, fill in fills.items():
        filled = CLASSICAL_FILLS[fill](sensor, sequence.rgb[index])
        yield name, unproject(filled, camera), normals_from_depth(filled, camera)
    for estimate in Perception(load_engine("nano", EngineOptions())).run(sequence.frames()):
        if estimate.frame.stamp_ns == sequence.stamps_ns[index]:
            nothing = np.full(sensor.shape, np.nan, np.float32)
            depth = nothing if estimate.depth is None else estimate.depth
            normals = normals_from_depth(depth, camera) if estimate.normals is None else estimate.normals
            yield OURS, unproject(depth, camera), normals
    yield TRUTH, unproject(sequence.depth[index], camera), sequence.normals[index].astype(np.float32)


def planned(points: Any, normals: Any) -> Any:
    """All proposals of the planner, best first: every object's, not only the best twenty, and poor ones too, as a robot
    that is sent to an object tries the best there is."""
    from dkt_ros.grasps import Grasps, GraspSettings, NoTable, propose

    try:
        return propose(points, normals, replace(GraspSettings(), max_grasps=400, min_score=0.02))
    except NoTable:
        return Grasps.none()


def owners(poses: Float64, instance: NDArray[np.uint8], camera: Any) -> NDArray[np.int64]:
    """(N,) number of the object that each grasp, (N, 4, 4) in the optical frame, is on in the picture; 0: of none.

    As with a detector that finds the object in the colours: the same true mask for every source of depth.
    """
    import cv2

    height, width = instance.shape
    distance, label = cv2.distanceTransformWithLabels(
        (instance == 0).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    of_label = np.zeros(int(label.max()) + 1, np.int64)
    of_label[label[instance > 0]] = instance[instance > 0]
    x, y, z = poses[:, :3, 3].T
    with np.errstate(divide="ignore", invalid="ignore"):
        u, v = np.rint(camera.fx * x / z + camera.cx), np.rint(camera.fy * y / z + camera.cy)
    inside = (z > 0) & (u >= 0) & (u < width) & (v >= 0) & (v < height)
    found = np.zeros(len(poses), np.int64)
    row, column = v[inside].astype(int), u[inside].astype(int)
    near = distance[row, column] <= NEAR_PIXELS
    found[inside] = np.where(near, of_label[label[row, column]], 0)
    return found


def narrowest(body: Body) -> float:
    """Metres across the thinnest part, as high as a finger is wide, that lies 15 mm or more above the foot."""
    import cv2

    from benchmarks.grasp_hulls import finer

    points = np.concatenate([finer(part.corners).reshape(-1, 3) for part in body.parts])
    least, height = np.inf, 0.015
    while height + 0.01 < points[:, 2].max():
        slab = points[(points[:, 2] >= height) & (points[:, 2] <= height + 0.02)]
        if len(slab) > 2:
            least = min(least, *cv2.minAreaRect(slab[:, :2].astype(np.float32))[1])
        height += 0.01
    return least


def scene_trials(file: Path, fills: dict[str, str]) -> dict[str, Any]:
    """Every trial of one scene, and how many objects were left out why; the same for the same file."""
    import cv2
    import torch

    from benchmarks.grasp_sim import Arena
    from dkt_ros.training.sequences import load_sequence

    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    sequence = load_sequence(file)
    index = len(sequence) // 2
    bodies, clutter = load_bodies(bodies_path(file))
    instance, to_world = sequence.instance[index], sequence.camera_to_world[index]
    arena = Arena(bodies, clutter)
    left_out = {"too wide for the jaw": 0, "hardly seen": 0, "does not stand still": 0}
    targets = []
    for body in bodies:
        if narrowest(body) > WIDEST_M:
            left_out["too wide for the jaw"] += 1
        elif (instance == body.number).sum() < LEAST_PIXELS:
            left_out["hardly seen"] += 1
        elif arena.settled(body.number) > 0.005:
            left_out["does not stand still"] += 1
        else:
            targets.append(body)
    trials = []
    for source, points, normals in clouds(sequence, index, fills):
        grasps = planned(points, normals)
        on = owners(grasps.pose, instance, sequence.intrinsics)
        for body in targets:
            chosen = np.flatnonzero(on == body.number)[:1]
            trial = {
                "seed": sequence.meta["seed"],
                "object": body.number,
                "family": body.family,
                "material": body.material,
                "group": GROUPS[body.material],
                "source": source,
                "held": False,
                "reason": "no grasp proposed",
            }
            for best in chosen:
                pose = to_world @ grasps.pose[best]
                outcome = arena.execute(body.number, pose, float(grasps.width[best]))
                trial |= {"held": outcome.held, "reason": outcome.reason, "rise": round(outcome.rise, 4)}
                trial |= {"aperture": round(outcome.aperture, 4), "width": float(grasps.width[best])}
                trial |= {"score": float(grasps.score[best]), "pose": pose.tolist()}
            trials.append(trial)
    return {"seed": sequence.meta["seed"], "left out": left_out, "trials": trials}


def code_version(fills: dict[str, str]) -> str:
    """Of the files that decide a trial, besides the perception and its weights."""
    files = [*sorted(HERE.glob("grasp_[hst]*.py")), *sorted((HERE.parent / "dkt_ros").glob("grasp*.py"))]
    content = b"".join(file.read_bytes() for file in files) + repr(fills).encode()
    return hashlib.sha256(content).hexdigest()[:16]


def run(files: list[Path], out: Path, fills: dict[str, str], workers: int, fresh: bool) -> list[dict[str, Any]]:
    """The results of all scenes in order; each is kept in ``out`` as soon as it is there, and taken from there."""
    from tqdm import tqdm

    from dkt_ros.files import written_whole

    out.mkdir(parents=True, exist_ok=True)
    version = code_version(fills)
    missing = []
    for file in files:
        kept = out / f"{file.stem}.json"
        if fresh or not kept.exists() or json.loads(kept.read_text()).get("version") != version:
            missing.append(file)
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        answers = [pool.submit(scene_trials, file, fills) for file in missing]
        for file, answer in zip(tqdm(missing, unit="scene", disable=None), answers, strict=True):
            with written_whole(out / f"{file.stem}.json") as part:
                part.write_text(json.dumps({"version": version, **answer.result()}, indent=1) + "\n")
    return [json.loads((out / f"{file.stem}.json").read_text()) for file in files]


def prepared(folder: Path, renderer: str, first: int, count: int) -> list[Path]:
    """Sequences with their bodies; what is missing is rendered and rebuilt.

    Raises:
        SystemExit: something is missing and there is no renderer.
    """
    from dkt_ros.training.sequences import sequence_files

    seeds = ("--recipe", str(RECIPE), "--seed", str(first), "--count", str(count))
    commands = (
        ("dkt_ros.training.render", "dataset", *seeds, "--out", str(folder)),
        ("benchmarks.grasp_scenes", str(folder)),
    )
    for command, lacking in zip(
        commands,
        (
            lambda: len(sequence_files(folder)) < count,
            lambda: any(not bodies_path(file).exists() for file in sequence_files(folder)),
        ),
        strict=True,
    ):
        if not lacking():
            continue
        if not Path(renderer).exists():
            raise SystemExit(f"{folder} lacks scenes or their bodies and there is no {renderer}: make render-env")
        if subprocess.run([renderer, "-m", *command], cwd=HERE.parent).returncode not in (0, 1):
            raise SystemExit(f"{renderer} -m {' '.join(command)} failed")
    return sequence_files(folder)


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder of the results")
    parser.add_argument("--data", type=Path, default=Path("data/grasp"), help="folder of the scenes")
    parser.add_argument("--seed", type=int, default=FIRST, help="of the first scene, where they are to be rendered")
    parser.add_argument("--count", type=int, default=COUNT, help="how many scenes")
    parser.add_argument("--renderer", default=".venv-render/bin/python", help="Python of `make render-env`")
    parser.add_argument("--all-fills", action="store_true", help="every classical fill, to choose the best")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)), help="processes")
    parser.add_argument("--fresh", action="store_true", help="do all trials again, after a change of the perception")
    arguments = parser.parse_args()
    from benchmarks.grasp_table import markdown, summary
    from dkt_ros.fills import CLASSICAL_FILLS

    try:
        import mujoco  # noqa: F401
    except ImportError:
        print("simulated grasping needs MuJoCo: pip install -e '.[grasp]'", file=sys.stderr)
        return 2
    files = prepared(arguments.data.absolute(), arguments.renderer, arguments.seed, arguments.count)
    fills = {name: name for name in CLASSICAL_FILLS} if arguments.all_fills else {FILL: BEST_FILL}
    scenes = run(files, arguments.out / "grasps", fills, arguments.workers, arguments.fresh)
    report = summary(scenes)
    text = markdown(report)
    (arguments.out / "grasps.json").write_text(json.dumps({**report, "scenes": scenes}, indent=1) + "\n")
    (arguments.out / "grasps.md").write_text(text)
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())

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
from concurrent.futures import ProcessPoolExecutor
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from benchmarks.grasp_attempts import BEST_FILL, FILL, OURS, scene_trials
from benchmarks.grasp_scenes import bodies_path

HERE = Path(__file__).parent
RECIPE = HERE / "grasp_scenes.yaml"
#: Seeds that nothing was tuned on, training refuses them; constants were looked at on scenes from 1320 on.
FIRST, COUNT = 9700, 40


def code_version(fills: dict[str, str]) -> str:
    """Of the files that decide a trial, besides the perception and its weights."""
    own = ("attempts", "hulls", "scenes", "sim")
    planner = ("grasps", "grasp_candidates", "grasp_scene", "grasp_shapes")
    files = [HERE / f"grasp_{name}.py" for name in own] + [HERE.parent / "dkt_ros" / f"{name}.py" for name in planner]
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
    from benchmarks.grasp_pictures import CannotDraw, draw, examples
    from benchmarks.grasp_table import markdown, summary
    from dkt_ros.fills import CLASSICAL_FILLS

    if find_spec("mujoco") is None:
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
    trials = [trial for scene in scenes for trial in scene["trials"]]
    try:
        draw(examples(trials, OURS), arguments.data, arguments.out / "grasps.png")
    except CannotDraw as error:
        print(error, file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())

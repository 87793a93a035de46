"""Our answer on four real RGB-D frames: two of ClearGrasp (with ground truth) and two of LingBot-Depth (without).

    python -m benchmarks.samples ../shared/samples --out out/samples

Single frames, so a clip of one frame is all that the model gets. They are brought to at most 640 pixels of width first
(colour averaged, depth and normals by the nearest value). ClearGrasp's ground truth is the depth of the twin scene in
which the objects were painted. Prints the table of the ClearGrasp frames and writes a picture of each of the four.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np

from dkt_ros.commands.run import add_engine_arguments, make_perception
from dkt_ros.evaluation.datasets import open_dataset
from dkt_ros.evaluation.evaluate import Recording, evaluate
from dkt_ros.evaluation.pictures import contact_sheet
from dkt_ros.evaluation.protocols import Range, Reference
from dkt_ros.evaluation.report import Report, command_line
from dkt_ros.frames import Frame, Intrinsics
from dkt_ros.perception import Perception

WIDEST = 640


def smaller(recording: Recording, width: int = WIDEST) -> Recording:
    """A recording of one frame at ``width`` pixels, if it is wider."""
    (frame,) = recording.frames
    if frame.size[0] <= width:
        return recording
    height = round(frame.size[1] * width / frame.size[0])
    rows = (np.arange(height) * frame.size[1] // height + frame.size[1] // height // 2).clip(max=frame.size[1] - 1)
    columns = (np.arange(width) * frame.size[0] // width + frame.size[0] // width // 2).clip(max=frame.size[0] - 1)
    nearest = np.ix_(rows, columns)
    rgb = cv2.resize(frame.rgb, (width, height), interpolation=cv2.INTER_AREA).astype(np.uint8)
    assert frame.sensor_depth is not None and frame.intrinsics is not None
    sensor, truth = frame.sensor_depth[nearest], recording.reference
    normals = None if truth.normals is None else truth.normals[0][nearest][None]
    reference = Reference(
        truth.name, truth.depth[0][nearest][None], truth.transparent[0][nearest][None], sensor[None], normals
    )
    small = Frame(frame.stamp_ns, frame.frame_id, rgb, frame.intrinsics.resized(width, height), sensor)
    return Recording(recording.name, [small], reference)


def load_lingbot(folder: Path) -> Recording:
    """One frame of LingBot-Depth's examples: uint16 millimetres, 0 invalid; there is no ground truth."""
    (picture,) = folder.glob("rgb.*")
    rgb = cv2.cvtColor(cv2.imread(str(picture)), cv2.COLOR_BGR2RGB).astype(np.uint8)
    raw = cv2.imread(str(folder / "raw_depth.png"), cv2.IMREAD_UNCHANGED)
    sensor = np.where(raw > 0, raw / np.float32(1000), np.nan).astype(np.float32)
    k = np.fromstring((folder / "intrinsics.txt").read_text(), sep=" ").reshape(3, 3)
    height, width = raw.shape
    camera = Intrinsics(k[0, 0], k[1, 1], k[0, 2], k[1, 2], width, height)
    unknown = np.full((1, height, width), np.nan, np.float32)
    reference = Reference(folder.name, unknown, np.zeros(unknown.shape, bool), sensor[None])
    return Recording(f"lingbot_{folder.name}", [Frame(0, "camera", rgb, camera, sensor)], reference)


def main() -> None:
    """Run, print, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("samples", type=Path, help="folder that holds cleargrasp/ and lingbot/")
    parser.add_argument("--out", type=Path, default=Path("out/samples"), help="folder for pictures and scores.json")
    add_engine_arguments(parser)
    arguments = parser.parse_args()
    perception: Perception = make_perception(arguments)
    limits = Range()
    pairs = arguments.samples / "cleargrasp"
    videos = []
    for recording in [smaller(source.load()) for source in open_dataset(pairs).sources]:
        estimates = list(perception.run(recording.frames))
        videos.append(evaluate(recording, estimates, limits))
        contact_sheet(recording, estimates, arguments.out / f"{recording.name}.png", limits, title=recording.name)
    for recording in [smaller(load_lingbot(path.parent)) for path in sorted(arguments.samples.glob("lingbot/*/rgb.*"))]:
        estimates = list(perception.run(recording.frames))
        fit = estimates[0].fit
        print(f"{recording.name}: {'no metric fit' if fit is None else fit}")
        contact_sheet(recording, estimates, arguments.out / f"{recording.name}.png", limits, title=recording.name)
    report = Report(videos, limits, perception.engine.card.name, command_line(), {})
    report.write_json(arguments.out / "scores.json")
    print(f"{report.table()}\n\n{report.bars()}\n\n{report.by_video()}")


if __name__ == "__main__":
    main()

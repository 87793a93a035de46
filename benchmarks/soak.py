"""Ten thousand frames through the real node over DDS, with a long week's mishaps, and whether its memory stays flat.

    python -m benchmarks.soak [--frames 10000] [--out out]        about 20 minutes on two cores

The bundled recording, made as small as the bundled model works (160x96), is played to and fro into the node in a
process of its own, as fast as the node answers. Every eighty frames something happens, so that each thing has happened
once in the first tenth (soak_camera.mishaps): a reset, a publisher that dies and returns, an image of an unknown
encoding, a stamp that goes back, another picture size, a camera_info that changes, a parameter that is set, a reader
that goes and comes, a capture that is refused, a deactivation, a cleanup after which the model is loaded anew. Every
hundred answers the node's resident memory, threads and open files are read from /proc.

Prints a table, writes it with the samples into OUT/soak.json, and ends with status 1 if the memory after the last frame
is over 2 % more than it was after the first tenth.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from benchmarks.rates import node_process
from benchmarks.soak_camera import Camera, mishaps, small_frames
from dkt_ros.node_processes import set_environment

#: Frames on their way at most; fewer than a clip of nine would never be answered.
IN_FLIGHT = 9
SAMPLE_EVERY = 100
#: No answer for so long and frames are sent anyway: what was dropped is not waited for.
STALL_S = 3.0
GIVE_UP_S = 60.0
FLAT = 1.02
#: On one core, so that other work may go on beside it; nothing is dropped for being late on a busy machine.
PARAMETERS = ["diagnostics_period:=0.5", "threads:=1", "max_age:=0.0"]


@dataclass(frozen=True)
class Sample:
    """The node's process after so many answers."""

    answered: int
    seconds: float
    resident_mb: float
    threads: int
    open_files: int


def sample(process: subprocess.Popen[bytes], answered: int, start: float) -> Sample:
    """Memory, threads and files of the node's process."""
    folder = Path("/proc") / str(process.pid)
    lines = (folder / "status").read_text().splitlines()
    told = dict(line.split(":", 1) for line in lines if ":" in line)
    resident = int(told["VmRSS"].split()[0]) / 1024
    files = len(os.listdir(folder / "fd"))
    return Sample(answered, round(time.monotonic() - start, 1), round(resident, 1), int(told["Threads"]), files)


def soak(
    camera: Camera, process: subprocess.Popen[bytes], wanted: int, mishap_every: int
) -> tuple[list[Sample], dict[str, int]]:
    """Play until ``wanted`` frames are answered; samples, and how often each mishap was made.

    Raises:
        SystemExit: the node died or stopped answering.
    """
    frames = small_frames()
    stream, trouble = itertools.cycle(frames), mishaps(camera, frames)
    samples: list[Sample] = []
    made: dict[str, int] = {}
    start = heard = time.monotonic()
    seen, next_mishap = 0, mishap_every
    with tqdm(total=wanted, unit="frame", disable=None) as bar:
        while camera.answered < wanted:
            if process.poll() is not None:
                sys.exit(f"the node ended with status {process.returncode} after {camera.answered} frames")
            if camera.answered != seen:
                bar.update(camera.answered - seen)
                seen, heard = camera.answered, time.monotonic()
                if seen >= SAMPLE_EVERY * (len(samples) + 1):
                    samples.append(sample(process, seen, start))
                    if bar.disable and len(samples) % 10 == 0:
                        print(samples[-1], file=sys.stderr)
            if camera.answered >= next_mishap:
                name, deed = next(trouble)
                deed()
                made[name] = made.get(name, 0) + 1
                next_mishap += mishap_every
                camera.unanswered.clear()
            silent = time.monotonic() - heard
            if silent > GIVE_UP_S:
                sys.exit(f"no answer for {silent:.0f} s after {camera.answered} frames: {camera.told}")
            if len(camera.unanswered) < IN_FLIGHT or silent > STALL_S:
                camera.send(next(stream))
                camera.spin(0.0 if silent < STALL_S else 0.1)
            camera.spin(0.005)
    samples.append(sample(process, camera.answered, start))
    return samples, made


def main() -> None:
    """Measure, print, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=10_000, metavar="N", help="to be answered (%(default)s)")
    parser.add_argument("--mishap-every", type=int, default=80, metavar="N", help="answers between two (%(default)s)")
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for the log and soak.json (%(default)s)")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    set_environment(arguments.out)
    with node_process(PARAMETERS, arguments.out / "soak_node.log") as process:
        camera = Camera()
        end = time.monotonic() + 90
        while camera.told.get("state") != "active" and time.monotonic() < end:
            camera.spin(0.2)
        samples, made = soak(camera, process, arguments.frames, arguments.mishap_every)
        told = camera.told
    early = next(each for each in samples if each.answered >= arguments.frames / 10)
    ratio = samples[-1].resident_mb / early.resident_mb
    report(samples, made, told, ratio)
    details = {"samples": [asdict(each) for each in samples], "mishaps": made, "diagnostics": told, "ratio": ratio}
    (arguments.out / "soak.json").write_text(json.dumps(details, indent=1))
    sys.exit(ratio > FLAT)


def report(samples: list[Sample], made: dict[str, int], told: dict[str, str], ratio: float) -> None:
    """Eleven rows are enough for a person."""
    print("\n| answered | s | resident MB | threads | open files |\n| --: | --: | --: | --: | --: |")
    for index in sorted({round(share * (len(samples) - 1)) for share in np.linspace(0, 1, 11)}):
        each = samples[index]
        print(f"| {each.answered} | {each.seconds:.0f} | {each.resident_mb} | {each.threads} | {each.open_files} |")
    print(f"\nmishaps: {', '.join(f'{count} x {name}' for name, count in made.items()) or 'none'}")
    drops = {key: value for key, value in told.items() if key.startswith(("drops/", "faults/"))}
    print(f"the node counted: {', '.join(f'{value} {key}' for key, value in drops.items()) or 'nothing'}")
    print(f"memory at the end over that after the first tenth: {ratio:.3f} (flat: at most {FLAT})")


if __name__ == "__main__":
    main()

"""``python -m dkt_ros.training.render``: draw table-top scenes with glass on them and render them with Blender."""

from __future__ import annotations

import argparse
import importlib.util
import os
import signal
import sys
import threading
from pathlib import Path

NEEDS = ("bpy", "OpenEXR", "pyoidn", "cv2", "tqdm")


def _size(text: str) -> tuple[int, int]:
    try:
        width, height = (int(part) for part in text.lower().split("x"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not WIDTHxHEIGHT, for example 160x96") from None
    if not (16 <= width <= 4096 and 16 <= height <= 4096):
        raise argparse.ArgumentTypeError(f"{text}: width and height must be 16 to 4096")
    return width, height


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} must be at least 1")
    return value


def _rate(text: str) -> float:
    value = float(text)
    if not 0 < value <= 1000:
        raise argparse.ArgumentTypeError(f"{text} must be above 0 and at most 1000 Hz")
    return value


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="python -m dkt_ros.training.render",
        description="Render sequences of random table-top scenes with glass, plastic, metal and ceramic: RGB, depth of "
        "the first surface, depth without the transparent objects, normals, materials, instances, camera, and a "
        "simulated RGB-D sensor. Writes OUT/SEED.tar, read by dkt_ros.training.sequences. The same seed gives "
        "the same depth. Needs the environment of `make render-env`.",
        epilog="Seeds by convention: training 1000..8999, validation 9000..9019, held-out 9500..9519, demo bag 9950. "
        "A file that exists is not rendered again; Ctrl-C loses only the sequence in progress. "
        "Example: --seed 1000 --count 50 --frames 13 --size 160x96 --out data/train",
    )
    p.add_argument("--seed", type=int, required=True, help="first seed, at least 0")
    p.add_argument("--count", type=_positive, default=1, help="how many successive seeds (default 1)")
    p.add_argument("--frames", type=_positive, required=True, help="frames per sequence, for example 13")
    p.add_argument("--size", type=_size, required=True, metavar="WxH", help="for example 160x96 or 320x192")
    p.add_argument("--out", type=Path, required=True, help="folder for the sequences")
    p.add_argument("--samples", type=_positive, default=8, help="per pixel, before denoising (8; 16 at 320x192)")
    p.add_argument("--rate", type=_rate, default=30.0, metavar="HZ", help="frames per second (default 30)")
    p.add_argument("--threads", type=_positive, default=1, help="Cycles threads (default 1; run several processes)")
    return p


def main(arguments: list[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    if options.seed < 0:
        parser().error(f"--seed {options.seed}: must be at least 0")
    missing = [name for name in NEEDS if importlib.util.find_spec(name) is None]
    if missing:
        print(
            f"rendering needs {', '.join(missing)}, which this Python lacks; run `make render-env`, then "
            ".venv-render/bin/python -m dkt_ros.training.render ...",
            file=sys.stderr,
        )
        return 2
    os.environ.setdefault("OIDN_NUM_THREADS", str(options.threads))
    return _render_all(options)


def _listen_for_interrupt() -> None:
    """Make Ctrl-C end the work after the pass in progress; Blender would swallow it, wherever in a render it came."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    from dkt_ros.training.render.passes import interrupted

    def wait() -> None:
        signal.sigwait({signal.SIGINT})
        print("\nstopping after this pass", file=sys.stderr)
        interrupted.set()

    threading.Thread(target=wait, daemon=True).start()


def _render_all(options: argparse.Namespace) -> int:
    from tqdm import tqdm

    _listen_for_interrupt()
    from dkt_ros.training.render.generate import render_sequence
    from dkt_ros.training.sequences import save_sequence, sequence_path

    width, height = options.size
    seeds = range(options.seed, options.seed + options.count)
    failed = 0
    with tqdm(seeds, unit="sequence") as progress:
        for seed in progress:
            path = sequence_path(options.out, seed)
            progress.set_postfix_str(path.name)
            if path.exists():
                continue
            try:
                sequence = render_sequence(
                    seed, options.frames, width, height, options.rate, options.samples, options.threads
                )
                save_sequence(path, sequence)
            except RuntimeError as error:
                tqdm.write(str(error), file=sys.stderr)
                failed += 1
            except KeyboardInterrupt:
                tqdm.write(f"stopped; {path.name} is not written, run the same command to go on", file=sys.stderr)
                return 130
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

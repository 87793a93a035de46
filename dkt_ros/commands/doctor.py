"""What is installed and what is missing, or with --node why a running node gives no output.

Examples:
  dkt doctor                          packages, GPU, ROS: what is there, and the command for what is not
  dkt doctor --node                   every dkt_perception node that can be heard: one line each, then its numbers
  dkt doctor --node /left/dkt_perception --watch

Ends with status 0 if `dkt demo` can run here, with 1 if something that it needs is missing. With --node: 0 if output
flows, 1 if not, 2 if there is no such node.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from dkt_ros.commands import doctor_node


@dataclass(frozen=True)
class Check:
    """One line of the report: what, whether it is there, what was found or what to do; ``needed``: by `dkt demo`."""

    name: str
    good: bool
    detail: str
    needed: bool = False


#: package on the index, what it is for, needed by the demo, how to get it
PACKAGES = (
    ("numpy", "arrays", True, "pip install numpy"),
    ("opencv-python-headless", "pictures", True, "pip install opencv-python-headless"),
    ("rosbags", "bags without ROS", True, "pip install rosbags"),
    ("torch", "the model", True, "pip install torch==2.13.0 --index-url https://download.pytorch.org/whl/cpu"),
    ("diffusers", "the model", True, "pip install diffusers"),
    ("safetensors", "weights", True, "pip install safetensors"),
    ("matplotlib", "pictures of results", True, "pip install matplotlib"),
    ("tqdm", "progress bars", True, "pip install tqdm"),
    ("transformers", "prompts of dkt, depthlab", False, "pip install 'dkt_ros[models]'"),
    ("sentencepiece", "prompts of dkt", False, "pip install 'dkt_ros[models]'"),
    ("scipy", "depthlab", False, "pip install 'dkt_ros[models]'"),
    ("peft", "training LoRA adapters", False, "pip install 'dkt_ros[train]'"),
    ("open3d", "viewing clouds", False, "pip install open3d"),
    ("OpenEXR", "reading ClearGrasp", False, "pip install OpenEXR"),
)
WHEELS = 'pip install "ros-rclpy[fastrtps]" ros-sensor-msgs ros-std-srvs ros-diagnostic-msgs'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``dkt doctor``."""
    parser.add_argument(
        "--node", nargs="?", const=doctor_node.ANY, metavar="NAME", help="ask this node, or without a name all of ours"
    )
    parser.add_argument("--wait", type=float, default=5.0, metavar="S", help="with --node: how long to wait for it")
    parser.add_argument("--watch", action="store_true", help="with --node: go on, a line a second, until Ctrl-C")


def main(arguments: argparse.Namespace) -> int:
    """Print the checks, 0 if nothing that the demo needs is missing; or what a node says, see ``doctor_node``."""
    if arguments.node is not None:
        return doctor_node.main(arguments.node, arguments.wait, arguments.watch)
    missing = 0
    for check in checks():
        mark = "ok     " if check.good else "MISSING" if check.needed else "absent "
        print(f"{mark}  {check.name:<24} {check.detail}")
        missing += check.needed and not check.good
    print(
        "\n`dkt demo` can run here." if not missing else f"\n`dkt demo` cannot run here: {missing} missing, see above."
    )
    return 1 if missing else 0


def checks() -> Iterator[Check]:
    """Every check, in the order of the report."""
    yield Check("python", sys.version_info >= (3, 10), f"{platform.python_version()} (3.10 or newer)", needed=True)
    yield Check("machine", True, f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPU cores")
    for package, purpose, needed, command in PACKAGES:
        yield _package(package, purpose, needed, command)
    yield _gpu()
    yield from _ros()
    yield _shared_memory()
    yield _weights()
    yield _bundled_bag()
    yield _renderer()


def _package(package: str, purpose: str, needed: bool, command: str) -> Check:
    try:
        return Check(package, True, f"{version(package)} ({purpose})")
    except PackageNotFoundError:
        if package.startswith("opencv") and find_spec("cv2"):  # as apt's python3-opencv brings it
            return Check(package, True, f"the system's cv2 ({purpose})")
        return Check(package, False, f"{purpose}: {command}", needed)


def _gpu() -> Check:
    program = shutil.which("nvidia-smi")
    if program is None:
        return Check("GPU", False, "no NVIDIA driver here (nvidia-smi not found): the bundled model runs on the CPU")
    query = [program, "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    done = subprocess.run(query, capture_output=True, text=True, timeout=20, check=False)
    if done.returncode:
        return Check("GPU", False, f"nvidia-smi says: {(done.stderr or done.stdout).strip().splitlines()[:1]}")
    devices = "; ".join(done.stdout.strip().splitlines())
    if _torch_sees_cuda():
        return Check("GPU", True, devices)
    return Check("GPU", False, f"{devices}, but this torch has no CUDA: pip install torch==2.13.0 (the CUDA build)")


def _torch_sees_cuda() -> bool:
    try:
        import torch
    except ImportError:
        return False
    return bool(torch.cuda.is_available())


def _ros() -> Iterator[Check]:
    distro = os.environ.get("ROS_DISTRO")
    try:
        import rclpy  # noqa: F401
        import sensor_msgs.msg  # noqa: F401
    except ImportError as error:
        if _leftover_bootstrap(error):
            remedy = (
                "unset _ROS_WHEELS_BOOTSTRAP_COMPLETE LD_LIBRARY_PATH, then try again (left by another environment)"
            )
        else:
            remedy = f"source /opt/ros/<distro>/setup.bash, or without ROS: {WHEELS}"
        yield Check("ROS 2 (rclpy)", False, f"{error}: {remedy}", needed=True)
        return
    source = f"ROS 2 {distro}" if distro else "wheels from the Python index"
    try:
        found = version("ros-rclpy")
    except PackageNotFoundError:
        found = "installed"
    yield Check("ROS 2 (rclpy)", True, f"{found}, {source}")
    middleware = os.environ.get("RMW_IMPLEMENTATION", "rmw_fastrtps_cpp (default)")
    yield Check("ROS 2 middleware", True, middleware)
    if not distro:
        yield Check(
            "tf2_ros, launch_ros", False, "only with a ROS 2 install (apt): TF and `ros2 launch`; the node runs without"
        )


def _leftover_bootstrap(error: ImportError) -> bool:
    return "librcl" in str(error) and "_ROS_WHEELS_BOOTSTRAP_COMPLETE" in os.environ


def _shared_memory() -> Check:
    path = Path("/dev/shm")
    if not path.exists():
        return Check("/dev/shm", False, "absent: Fast DDS falls back to UDP")
    free = shutil.disk_usage(path).free / 2**20
    detail = f"{free:.0f} MB free"
    if free < 128:
        return Check("/dev/shm", False, f"{detail}, Fast DDS wants 128 MB for pictures: docker run --shm-size=512m ...")
    return Check("/dev/shm", True, detail)


def _weights() -> Check:
    folder = Path(__file__).parents[1] / "engines" / "nano"
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        return Check(
            "weights of nano", False, f"no *.safetensors in {folder}: reinstall, or git checkout -- {folder}", True
        )
    size = sum(file.stat().st_size for file in files) / 1e6
    return Check("weights of nano", True, f"{', '.join(file.name for file in files)}, {size:.1f} MB")


def _bundled_bag() -> Check:
    from dkt_ros.demo import BUNDLED_BAG

    if not BUNDLED_BAG.exists():
        return Check(
            "bundled bag", False, f"{BUNDLED_BAG} is absent: reinstall, or git checkout -- {BUNDLED_BAG}", True
        )
    size = sum(file.stat().st_size for file in BUNDLED_BAG.iterdir()) / 1e6
    return Check("bundled bag", True, f"{BUNDLED_BAG}, {size:.1f} MB")


def _renderer() -> Check:
    python = Path(".venv-render/bin/python")
    if python.exists():
        return Check("renderer (Blender)", True, f"{python}")
    return Check("renderer (Blender)", False, "only to render training data: make render-env")

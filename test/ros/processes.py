"""Nodes in processes of their own, as users start them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


class Processes:
    """Starts modules; kills at ``close`` what has not ended."""

    def __init__(self) -> None:
        self._started: list[subprocess.Popen[str]] = []

    def start(self, module: str, *arguments: str) -> subprocess.Popen[str]:
        """``python -m module --ros-args arguments``."""
        process = subprocess.Popen(
            [sys.executable, "-m", module, "--ros-args", *arguments],
            cwd=REPOSITORY,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._started.append(process)
        return process

    def close(self) -> None:
        """End all."""
        for process in self._started:
            process.kill()
            print(process.communicate()[0])  # pytest shows it if the test failed

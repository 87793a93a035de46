"""The parent's side of the workers: start them, give them seeds, notice when they die, end them."""

from __future__ import annotations

import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import dkt_ros
from dkt_ros.training.render.worker import MARK, Outcome

#: A worker is replaced after so many sequences: Blender's memory grows a little with each.
PER_PROCESS = 50

#: Prefix of a worker's folder for the sequence that it is writing.
SCRATCH = ".scratch-"

#: Workers that may die over one seed.
ATTEMPTS = 2

_PACKAGES = Path(dkt_ros.__file__).parents[1]


class CannotRender(RuntimeError):
    """No worker can work here at all; the message says why and what to do."""


class _Died(RuntimeError):
    """The worker's process ended without an answer."""


class Crew(Protocol):
    """Some workers, on this machine or on many."""

    def outcomes(self, seeds: Iterable[int]) -> Iterator[Outcome]:
        """Render ``seeds`` and give each one's outcome as soon as it is known, in any order.

        Raises:
            CannotRender: no worker can work at all.
        """

    def close(self) -> None:
        """End every worker at once; a sequence in progress is lost, nothing half-written stays."""


class _Process:
    """One worker process, from its start to its end."""

    def __init__(self, command: list[str], threads: int, log: Path) -> None:
        self._log = log
        # Blender's EXR files go to a folder that we can remove when the process was killed.
        self._temporary = tempfile.TemporaryDirectory(prefix="dkt_render_", ignore_cleanup_errors=True)
        changes = {name: str(threads) for name in ("OIDN_NUM_THREADS", "OMP_NUM_THREADS")}
        changes["TMPDIR"] = self._temporary.name
        # Where this process found the package, the worker finds it too, whatever folder it starts in.
        changes["PYTHONPATH"] = os.pathsep.join([str(_PACKAGES), *filter(None, [os.environ.get("PYTHONPATH")])])
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as sink:
            self._log_start = sink.tell()
            # In a session of its own Ctrl-C does not reach it, and everything that it started dies with it.
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=sink,
                text=True,
                start_new_session=True,
                env={**os.environ, **changes},
            )
        self.ready = False

    def ask(self, seed: int) -> Outcome:
        """Raises: _Died, CannotRender."""
        if not self.ready:
            started = self._answer()
            if "broken" in started:
                raise CannotRender(str(started["broken"]))
            self.ready = True
        assert self._process.stdin
        with suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps({"seed": seed}) + "\n")
            self._process.stdin.flush()
        answer = self._answer()
        return Outcome(answer["seed"], answer["kind"], tuple(answer["reasons"]), answer["seconds"])

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout
        for line in self._process.stdout:
            if line.startswith(MARK) and line.endswith("\n"):
                answer: dict[str, Any] = json.loads(line.removeprefix(MARK))
                return answer
            with self._log.open("a") as log:  # a wrapper around the worker has something to say
                log.write(line)
        raise _Died(self._end())

    def _end(self) -> str:
        status = self._process.wait()
        how = f"ended with status {status}"
        if status < 0:
            memory = ", perhaps for want of memory" if status == -signal.SIGKILL else ""
            how = f"was killed by signal {-status} ({signal.Signals(-status).name}{memory})"
        with self._log.open("rb") as log:
            log.seek(self._log_start)
            said = log.read().decode(errors="replace").strip().splitlines()
            empty = not log.tell()
        if empty:  # removed when the job ends, so it is not named
            return f"a worker {how} and said nothing"
        return f"a worker {how}" + (f': "{said[-1][:200]}"' if said else "") + f"; its log is {self._log}"

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            with suppress(BrokenPipeError):
                pipe.close()  # type: ignore[union-attr]
        self._temporary.cleanup()


class Worker:
    """Keeps one worker process going: a fresh one after ``PER_PROCESS`` sequences and after a death."""

    def __init__(self, folder: Path, name: str, threads: int = 1, renderer: tuple[str, ...] = ()) -> None:
        """
        Args:
            folder: of the data set, with its ``job.json``.
            name: unlike that of any other worker; of its log and its scratch folder.
            threads: of Cycles.
            renderer: the command of a worker process; none for this Python with our own ``worker``.
        """
        self._scratch = folder / f"{SCRATCH}{name}"
        self._log = folder / "logs" / f"{name}.log"
        command = renderer or (sys.executable, "-m", "dkt_ros.training.render.worker")
        self._command = [*command, str(folder / "job.json"), str(self._scratch), "--threads", str(threads)]
        self._threads = threads
        self._process: _Process | None = None
        self._served = 0
        self._lock = threading.Lock()
        self._closed = False

    def render(self, seed: int) -> Outcome:
        """The seed's outcome; a seed over which ``ATTEMPTS`` workers died has failed.

        Raises:
            CannotRender: no worker can work here.
        """
        deaths: list[str] = []
        while len(deaths) < ATTEMPTS and not self._closed:
            try:
                outcome = self._current().ask(seed)
                self._served += 1
                return replace(outcome, deaths=tuple(deaths))
            except _Died as death:
                deaths.append(str(death))
                self._drop()
        return died(seed, deaths)

    def _current(self) -> _Process:
        if self._served >= PER_PROCESS:
            self._drop()
        with self._lock:
            if self._closed:
                raise _Died("stopped")
            if self._process is None:
                self._process, self._served = _Process(self._command, self._threads, self._log), 0
            return self._process

    def _drop(self) -> None:
        with self._lock:
            if self._process:
                self._process.kill()
                self._process = None
        shutil.rmtree(self._scratch, ignore_errors=True)

    def close(self) -> None:
        """End the process at once, also while another thread waits for its answer."""
        self._closed = True
        self._drop()
        with suppress(FileNotFoundError):
            if not self._log.stat().st_size:
                self._log.unlink()


def died(seed: int, deaths: list[str]) -> Outcome:
    """The outcome of a seed over which every attempt's worker died; ``deaths`` says how, one line each."""
    last = f", the last one so: {deaths[-1]}" if deaths else ""
    return Outcome(seed, "failed", (f"{len(deaths)} workers died over it{last}",), deaths=tuple(deaths))


class LocalCrew:
    """Workers on this machine, a thread of ours waiting for each."""

    def __init__(self, workers: list[Worker]) -> None:
        self._workers = workers

    def outcomes(self, seeds: Iterable[int]) -> Iterator[Outcome]:
        """See ``Crew``."""
        results: queue.Queue[Outcome | Exception | None] = queue.Queue()
        source, lock = iter(seeds), threading.Lock()

        def work(worker: Worker) -> None:
            try:
                while True:
                    with lock:
                        seed = next(source, None)
                    if seed is None:
                        break
                    results.put(worker.render(seed))
            except Exception as error:
                results.put(error)
            results.put(None)

        for worker in self._workers:
            threading.Thread(target=work, args=(worker,), daemon=True).start()
        busy = len(self._workers)
        while busy:
            result = results.get()
            if result is None:
                busy -= 1
            elif isinstance(result, Exception):
                raise result
            else:
                yield result

    def close(self) -> None:
        """See ``Crew``."""
        for worker in self._workers:
            worker.close()

"""The crew of a job on many machines, through Ray; what the workers do is the same, and so is the folder.

Every machine must see the folder of the data set under the same path and have the same environment. Ray is the extra
``cluster``; it is imported when a crew is made.
"""

from __future__ import annotations

import itertools
import os
import platform
import re
import socket
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from dkt_ros.training.render.crew import ATTEMPTS, CannotRender, Worker, died
from dkt_ros.training.render.worker import Outcome

#: Addresses of ``--cluster`` that are not a machine's: the cluster that is running, and one of this machine alone.
RUNNING, LOCAL = "auto", "local"


class _RemoteWorker:
    """A ``Worker`` on some machine of the cluster: what Ray makes an actor of."""

    def __init__(self, folder: str, name: str, threads: int, renderer: tuple[str, ...]) -> None:
        host = platform.node() or "host"
        if not (Path(folder) / "job.json").is_file():
            raise CannotRender(f"machine {host} does not see {folder}/job.json: --out must be a folder that all share")
        self._worker = Worker(Path(folder), f"{host}-{os.getpid()}-{name}", threads, renderer)

    def ready(self) -> None:
        """Answers as soon as there is somebody to answer."""

    def render(self, seed: int) -> Outcome:
        return self._worker.render(seed)

    def close(self) -> None:
        self._worker.close()


class RayCrew:
    """Workers wherever Ray has processors for them; a machine that leaves is noticed, its seeds go to others."""

    def __init__(
        self,
        folder: Path,
        address: str = RUNNING,
        workers: int | None = None,
        threads: int = 1,
        renderer: tuple[str, ...] = (),
    ) -> None:
        """
        Args:
            folder: of the data set, as every machine sees it.
            address: of the cluster's head, ``RUNNING`` or ``LOCAL``.
            workers: how many; None for as many as the cluster has processors.
            threads: of Cycles, and processors that Ray reserves for a worker.
            renderer: the command of a worker process; none for each machine's own Python.

        Raises:
            CannotRender: Ray is not installed, no cluster answers, or it has no processors.
        """
        self._ray = _connect(address, workers, threads)
        processors = int(self._ray.cluster_resources().get("CPU", 0))
        count = workers or processors // threads
        if not 0 < count * threads <= processors:
            self._ray.shutdown()
            raise CannotRender(
                f"the cluster has {processors} processors, {workers or 1} workers of {threads} threads need "
                f"{(workers or 1) * threads}; give fewer --workers or --threads"
            )
        self._arguments = (str(folder.absolute()), threads, renderer)
        self._numbers = itertools.count(1)
        self._actors = [self._hire() for _ in range(count)]
        self._false_starts = 0

    def _hire(self) -> Any:
        """A new worker; Ray starts it where and when there are processors for it."""
        folder, threads, renderer = self._arguments
        # Two calls at a time, so that close() reaches a worker that renders.
        remote = self._ray.remote(_RemoteWorker).options(num_cpus=threads, max_concurrency=2)
        return remote.remote(folder, str(next(self._numbers)), threads, renderer)

    def outcomes(self, seeds: Iterable[int]) -> Iterator[Outcome]:
        """See ``Crew``."""
        source, again = iter(seeds), list[int]()
        lost: dict[int, list[str]] = {}
        # What is awaited: workers that start (no seed), and workers that render one.
        calls: dict[Any, tuple[int | None, Any]] = {actor.ready.remote(): (None, actor) for actor in self._actors}
        idle: list[Any] = []
        while True:
            while idle and (seed := again.pop() if again else next(source, None)) is not None:
                actor = idle.pop()
                calls[actor.render.remote(seed)] = (seed, actor)
            # Workers are idle only where no seed is left; then those that still start are not needed either.
            if not calls or (idle and all(seed is None for seed, _ in calls.values())):
                return
            for done in self._ray.wait(list(calls), num_returns=1)[0]:
                seed, actor = calls.pop(done)
                try:
                    outcome = self._ray.get(done)
                    idle.append(actor)
                    if seed is not None:
                        yield replace(outcome, deaths=(*lost.get(seed, ()), *outcome.deaths))
                except self._ray.exceptions.RayTaskError as error:
                    raise (error.cause if isinstance(error.cause, CannotRender) else CannotRender(str(error))) from None
                except self._ray.exceptions.RayActorError as error:
                    actor = self._replace(actor, error, started=seed is not None)
                    calls[actor.ready.remote()] = (None, actor)
                    if seed is not None:
                        deaths = lost.setdefault(seed, [])
                        deaths.append(f"Ray lost the worker or its machine: {_first_line(error)}")
                        if len(deaths) < ATTEMPTS:
                            again.append(seed)
                        else:
                            yield died(seed, deaths)

    def _replace(self, actor: Any, error: Exception, started: bool) -> Any:
        """Another worker for one that Ray lost.

        Raises:
            CannotRender: workers cannot start.
        """
        _, said, reason = str(error).partition("CannotRender: ")
        if said:  # from the actor's constructor, whose exceptions Ray gives as text
            raise CannotRender(reason.strip().splitlines()[0])
        self._false_starts += not started
        if self._false_starts > 2 * len(self._actors):
            raise CannotRender(f"workers do not start on the cluster: {_first_line(error)}")
        self._ray.kill(actor)
        self._actors.remove(actor)
        self._actors.append(self._hire())
        return self._actors[-1]

    def close(self) -> None:
        """See ``Crew``."""
        with suppress(Exception):  # an actor may be gone already; whatever happens, Ray is left
            self._ray.wait([actor.close.remote() for actor in self._actors], num_returns=len(self._actors), timeout=10)
        for actor in self._actors:
            self._ray.kill(actor)
        self._ray.shutdown()


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]


def _connect(address: str, workers: int | None, threads: int) -> Any:
    """Ray, connected. Nothing leaves the machines: no usage statistics, no dashboard.

    Raises:
        CannotRender: see ``RayCrew``.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    try:
        import ray
    except ImportError:
        raise CannotRender(
            "--cluster needs Ray: .venv-render/bin/pip install -r training/render/requirements-cluster.txt, on every "
            "machine of the cluster"
        ) from None
    target = os.environ.get("RAY_ADDRESS", address) if address == RUNNING else address
    options: dict[str, Any] = {"logging_level": "ERROR", "log_to_driver": False}
    if address == LOCAL:
        processors = workers * threads if workers else None
        options |= {"num_cpus": processors, "include_dashboard": False, "object_store_memory": 100 * 2**20}
    try:
        if re.fullmatch(r"[^/]+:\d+", target):  # Ray itself would go on trying for ever
            host, _, port = target.rpartition(":")
            socket.create_connection((host, int(port)), timeout=10).close()
        ray.init(address=address, **options)
    except (OSError, RuntimeError, ValueError) as error:
        raise CannotRender(
            f"no Ray cluster at {target} ({_first_line(error)}); start one with `ray start --head` here and "
            "`ray start --address HEAD:6379` on the others, or try --cluster local"
        ) from error
    return ray

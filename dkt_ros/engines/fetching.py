"""Published weights from the Hugging Face hub: at one commit, resumed after an interruption, checked, whole or absent.

A file grows as ``.NAME.HASH.partial`` and takes its name when its checksum is right. Pickles are never fetched.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from typing import Any

from dkt_ros.engines.catalogue import Model, Source
from dkt_ros.engines.headers import is_pickle_name
from dkt_ros.engines.hub import FetchError, repository_info, stated_licence, transfer
from dkt_ros.files import written_whole

#: What was fetched, in the user's folder: repositories with their commits, files with their sha256.
RECORD = "fetched.json"
#: Left free on the disk beside the files themselves.
_MARGIN = 64 << 20


@dataclass(frozen=True)
class RemoteFile:
    """One file at one commit.

    Attributes:
        repository, commit, path: where it is.
        size: in bytes.
        sha256: what the hub says; empty for small files, for which it gives only ``blob``.
        blob: the git blob's sha1.
        goal: where it goes.
    """

    repository: str
    commit: str
    path: str
    size: int
    sha256: str
    blob: str
    goal: Path

    @property
    def partial(self) -> Path:
        """The file that grows; named by its contents, so that it is never continued with those of another commit."""
        return self.goal.with_name(f".{self.goal.name}.{(self.sha256 or self.blob)[:12]}.partial")

    @property
    def missing(self) -> int:
        """Bytes still to come."""
        if self.goal.is_file():
            return 0
        here = self.partial.stat().st_size if self.partial.is_file() else 0
        return max(0, self.size - here)


@dataclass(frozen=True)
class Plan:
    """All that a model needs from the hub.

    Attributes:
        folder: the user's.
        files: to be there in the end.
        commits: by repository.
        pinned: repositories whose commit was known before the hub was asked.
        said: by repository, the licence that its page states.
    """

    folder: Path
    files: list[RemoteFile] = field(default_factory=list)
    commits: dict[str, str] = field(default_factory=dict)
    pinned: set[str] = field(default_factory=set)
    said: dict[str, str] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return sum(file.size for file in self.files)

    @property
    def missing(self) -> int:
        """Bytes still to come."""
        return sum(file.missing for file in self.files)


def make_plan(model: Model, folder: Path, revisions: Mapping[str, str] | None = None) -> Plan:
    """Ask the hub what ``model`` consists of.

    Args:
        folder: where it is to go; commits in its record are kept.
        revisions: by repository, a commit or branch to take instead of the catalogue's.

    Raises:
        FetchError: the hub cannot be reached or has not what the catalogue says.
    """
    recorded = read_record(folder)["repositories"]
    plan = Plan(folder)
    for source in model.sources:
        repository = source.repository
        wanted = (revisions or {}).get(repository) or recorded.get(repository) or source.revision
        info = repository_info(repository, wanted)
        plan.commits[repository] = info.sha
        if wanted == info.sha:
            plan.pinned.add(repository)
        plan.said[repository] = stated_licence(info)
        plan.files.extend(_chosen(source, info, folder))
    return plan


def download(plan: Plan) -> None:
    """Fetch what is missing, one file after the other, and note each in the record. Progress goes to stderr.

    An interruption leaves the files that were finished and one ``.partial``; the same call goes on from there.

    Raises:
        FetchError: no room, the connection broke, a file is not what the hub says, or something else is at its place.
    """
    _check_room(plan)
    missing = [file for file in plan.files if not _is_there(file, plan.folder)]
    _note(plan)
    for file in missing:
        file.goal.parent.mkdir(parents=True, exist_ok=True)
        transfer(file.repository, file.commit, file.path, file.size, file.partial)
        digest = _checked(file)
        os.replace(file.partial, file.goal)
        _note(plan, file, digest)


def read_record(folder: Path) -> dict[str, Any]:
    """What ``fetch`` noted in ``folder``: {"repositories": {name: commit}, "files": {path: {"sha256": ..., ...}}}.

    Raises:
        FetchError: the record is damaged.
    """
    path = folder / RECORD
    if not path.is_file():
        return {"repositories": {}, "files": {}}
    try:
        record = json.loads(path.read_text())
        return {"repositories": dict(record["repositories"]), "files": dict(record["files"])}
    except (ValueError, KeyError, TypeError) as error:
        raise FetchError(f"{path}: not a record of fetched files ({error}); remove it") from error


def sha256_of(path: Path, blob: bool = False) -> str:
    """sha256 of a file, or its git blob's sha1, in hexadecimal; a progress bar on stderr if it takes over 2 s."""
    from tqdm import tqdm

    size = path.stat().st_size
    digest = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False) if blob else hashlib.sha256()
    with (
        open(path, "rb") as file,
        tqdm(total=size, unit="B", unit_scale=True, delay=2, disable=None, desc=f"checking {path.name}") as bar,
    ):
        while block := file.read(1 << 22):
            digest.update(block)
            bar.update(len(block))
    return digest.hexdigest()


def _chosen(source: Source, info: Any, folder: Path) -> Iterator[RemoteFile]:
    """The files of ``source``, as the hub lists them."""
    there = {sibling.rfilename: sibling for sibling in info.siblings or []}
    for pattern in (*source.files, *source.optional):
        names = sorted(name for name in there if _matches(name, pattern) and not is_pickle_name(Path(name)))
        if not names and pattern in source.files:
            raise FetchError(
                f"{source.repository}: no {pattern} at {info.sha[:12]}, only {', '.join(sorted(there)) or 'nothing'}; "
                "give another commit with --revision"
            )
        if pattern.endswith(".safetensors") and len(names) > 1 and any("-of-" not in name for name in names):
            raise FetchError(
                f"{source.repository}: {len(names)} files could be meant: {', '.join(names)}. Download the right one "
                f"yourself into {folder / source.folder}: hf download {source.repository} NAME --local-dir "
                f"{folder / source.folder}"
            )
        for name in names:
            yield _remote(source, info.sha, there[name], folder)


def _matches(name: str, pattern: str) -> bool:
    """Whether ``pattern`` means this path; ``*`` stays within a folder."""
    return name.count("/") == pattern.count("/") and fnmatch(name, pattern)


def _remote(source: Source, commit: str, sibling: Any, folder: Path) -> RemoteFile:
    inside = PurePosixPath(source.folder, sibling.rfilename)
    if inside.is_absolute() or ".." in inside.parts or "\\" in str(inside):
        raise FetchError(f"{source.repository}: a file named {sibling.rfilename!r}, which leaves the folder; refused")
    sha256 = sibling.lfs.sha256 if sibling.lfs else ""
    if sibling.size is None or not (sha256 or sibling.blob_id):
        raise FetchError(f"{source.repository}: the hub lists {sibling.rfilename} without size or checksum; try later")
    return RemoteFile(
        source.repository, commit, sibling.rfilename, sibling.size, sha256, sibling.blob_id or "", folder / inside
    )


def _check_room(plan: Plan) -> None:
    place = plan.folder.absolute()
    while not place.exists():
        place = place.parent
    free, needed = shutil.disk_usage(place).free, plan.missing
    if needed and needed + _MARGIN > free:
        raise FetchError(
            f"{plan.folder}: {free / 1e9:.1f} GB free, {needed / 1e9:.1f} GB still to come; free space, or give "
            "another folder with --out"
        )


def _is_there(file: RemoteFile, folder: Path) -> bool:
    """Whether the file has its final name already, with the right contents; reads it if the record does not say so."""
    if not file.goal.exists():
        return False
    inside = file.goal.relative_to(folder).as_posix()
    noted = read_record(folder)["files"].get(inside, {})
    same_size = file.goal.is_file() and file.goal.stat().st_size == file.size
    same_source = (noted.get("repository"), noted.get("commit")) == (file.repository, file.commit)
    if same_size and (same_source or _digest(file, file.goal) == (file.sha256 or file.blob)):
        return True
    raise FetchError(
        f"{file.goal}: there already, and not {file.path} of {file.repository} at {file.commit[:12]}; move it away, or "
        "give another folder with --out"
    )


def _digest(file: RemoteFile, path: Path) -> str:
    return sha256_of(path, blob=not file.sha256)


def _checked(file: RemoteFile) -> str:
    """The sha256 of what came, if it is what the hub lists; else it is removed."""
    digest, listed = _digest(file, file.partial), file.sha256 or file.blob
    if digest != listed:
        file.partial.unlink()
        raise FetchError(
            f"{file.path} of {file.repository}: what came is not what the hub lists (checksum {digest[:12]} instead of "
            f"{listed[:12]}); it is removed, try again"
        )
    return digest if file.sha256 else sha256_of(file.partial)


def _note(plan: Plan, file: RemoteFile | None = None, sha256: str = "") -> None:
    """Write the plan's commits, and one finished file, into the record."""
    record = read_record(plan.folder)
    record["repositories"].update(plan.commits)
    if file is not None:
        record["files"][file.goal.relative_to(plan.folder).as_posix()] = {
            "repository": file.repository,
            "commit": file.commit,
            "path": file.path,
            "size": file.size,
            "sha256": sha256,
        }
    with written_whole(plan.folder / RECORD) as temporary:
        temporary.write_text(json.dumps({"format": "dkt_ros fetched 1", **record}, indent=1) + "\n")

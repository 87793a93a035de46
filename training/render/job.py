"""What a data set is made of, written down once in ``DIR/job.json`` and the same for every machine that works on it."""

from __future__ import annotations

import json
import os
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dkt_ros.files import written_whole
from dkt_ros.training.render.recipe import GENERATOR, SceneRecipe, recipe_from_content

JOB_FILE = "job.json"

#: Parts of the file that change no sequence (or stand for others that do).
_NO_MATTER = {"digest", "recipe.name", "recipe.objects.meshes.folder"}


class JobError(ValueError):
    """The job cannot be started or resumed; the message says why and what to do."""


@dataclass(frozen=True)
class Job:
    """Everything that decides which sequences a folder will hold.

    Attributes:
        recipe: with size, frames and samples as asked for on the command line.
        first: the first seed, at least 0.
        count: how many successive seeds, at least 1.
        generator: version of the code that draws and renders.
    """

    recipe: SceneRecipe
    first: int
    count: int
    generator: int = GENERATOR

    @property
    def seeds(self) -> range:
        return range(self.first, self.first + self.count)

    def content(self) -> dict[str, Any]:
        """As it stands in ``job.json``."""
        return {
            "generator": self.generator,
            "seeds": {"first": self.first, "count": self.count},
            "recipe": self.recipe.content(),
            "digest": self.recipe.digest,
        }


def read_job(path: Path | str) -> Job:
    """Read a ``job.json``.

    Raises:
        FileNotFoundError: there is none.
        JobError: it is damaged, was changed by hand, or was begun by another version of the generator.
    """
    path = Path(path)
    try:
        content = json.loads(path.read_text())
        seeds = content["seeds"]
        job = Job(recipe_from_content(content["recipe"]), int(seeds["first"]), int(seeds["count"]))
        generator, digest = content["generator"], content["digest"]
    except (ValueError, KeyError, TypeError) as error:
        raise JobError(
            f"{path} is not a job file that this version can read ({type(error).__name__}: {error}); delete it and "
            "begin anew with the same --recipe, --seed and --count"
        ) from error
    if generator != GENERATOR:
        raise JobError(
            f"{path} was begun by version {generator} of the generator, this is version {GENERATOR}: the same seeds "
            "give other scenes now. Use another --out, or the older version of dkt_ros"
        )
    if digest != job.recipe.digest:
        raise JobError(f"{path} was changed by hand: its recipe does not have the digest it states; use another --out")
    return job


def settle(folder: Path, wanted: Job | None, extend: bool = False) -> Job:
    """The job of ``folder``: the one that is there already, or ``wanted``, which is then written down.

    Many machines may call this at the same time on a shared folder; one creates the file and the others read it.

    Args:
        folder: of the data set; made if need be.
        wanted: None takes whatever is there.
        extend: let ``wanted`` widen the range of seeds of the job that is there.

    Raises:
        JobError: nothing is there and nothing is wanted, or the two differ; the message names what differs.
    """
    path = folder / JOB_FILE
    if wanted is not None:
        folder.mkdir(parents=True, exist_ok=True)
        _create(path, wanted)
    try:
        present = read_job(path)
    except FileNotFoundError:
        raise JobError(
            f"{folder} has no {JOB_FILE} yet: say what to render with --recipe, --seed and --count"
        ) from None
    if wanted is None:
        return present
    there, asked = _flat(present.content()), _flat(wanted.content())
    differences = {key for key in there.keys() | asked.keys() if there.get(key) != asked.get(key)}
    differences -= _NO_MATTER
    if extend and differences and differences <= {"seeds.first", "seeds.count"}:
        if wanted.first > present.seeds.stop or present.first > wanted.seeds.stop:
            raise JobError(
                f"{folder} holds seeds {present.first}..{present.seeds[-1]}: with {wanted.first}..{wanted.seeds[-1]} "
                "all in between would belong to it too; use another --out, or ask for those as well"
            )
        first = min(present.first, wanted.first)
        job = Job(present.recipe, first, max(present.seeds.stop, wanted.seeds.stop) - first)
        _write(path, job)
        return job
    if differences:
        told = "; ".join(f"{key} is {there.get(key)} there and {asked.get(key)} here" for key in sorted(differences))
        remedy = " or widen it with --extend" if differences <= {"seeds.first", "seeds.count"} else ""
        raise JobError(f"{folder} holds another job: {told}. Use another --out{remedy}")
    return present


def _write(path: Path, job: Job) -> None:
    with written_whole(path) as temporary:
        temporary.write_text(json.dumps(job.content(), indent=1) + "\n")


def _create(path: Path, job: Job) -> None:
    """Write the file unless it is there; at every moment there is none or a whole one."""
    if path.exists():
        return
    whole = path.with_name(f".{JOB_FILE}.{uuid.uuid4().hex}")  # of this call alone: threads and containers share a pid
    try:
        whole.write_text(json.dumps(job.content(), indent=1) + "\n")
        try:
            os.link(whole, path)
        except FileExistsError:
            pass  # another machine was first; settle() compares
        except OSError:  # a file system without links (exFAT): nearly as good
            os.replace(whole, path)
    finally:
        whole.unlink(missing_ok=True)


def _flat(content: Any, prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, with dotted names; recipe.objects.count rather than the whole recipe."""
    flat: dict[str, Any] = {}
    for key, value in content.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = list(value) if isinstance(value, tuple) else value
    return flat

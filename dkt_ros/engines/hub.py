"""The doors of huggingface_hub that ``fetching`` needs, with what goes wrong behind them in one sentence each.

Since its version 1.x the library starts a download anew after an interruption; ``transfer`` continues one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_LIST_TIMEOUT_S = 30.0


class FetchError(Exception):
    """Weights cannot be fetched; the message names the thing, the value and the remedy."""


def repository_info(repository: str, revision: str = "") -> Any:
    """The hub's ``ModelInfo`` of "owner/name" at a commit or branch (its newest if empty), with sizes and checksums.

    Raises:
        FetchError: the hub cannot be reached, refuses, or has no such thing.
    """
    from huggingface_hub import HfApi

    with _explained(repository, revision):
        info = HfApi().model_info(repository, revision=revision or None, files_metadata=True, timeout=_LIST_TIMEOUT_S)
    if not info.sha:
        raise FetchError(f"{repository}: the hub names no commit; is HF_ENDPOINT a Hugging Face hub?")
    return info


def stated_licence(info: Any) -> str:
    """The licence in the header of the repository's page; empty if there is none."""
    card = getattr(info, "card_data", None)
    stated = card.get("license") if card is not None else None
    return str(stated) if stated else ""


def transfer(repository: str, commit: str, path: str, size: int, goal: Path) -> None:
    """Fetch ``path`` into ``goal``, going on after the bytes that are there; short breaks are waited out.

    A bar on stderr shows how far it is.

    Raises:
        FetchError: it broke off; what came so far stays in ``goal``.
    """
    from huggingface_hub import hf_hub_url
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers

    with _explained(f"{path} of {repository}", commit, started=True), open(goal, "ab") as file:
        if file.tell() > size:
            file.truncate(0)
        http_get(
            hf_hub_url(repository, path, revision=commit),
            file,
            resume_size=file.tell(),
            # Compressed, a size would mean something else.
            headers={**build_hf_headers(), "Accept-Encoding": "identity"},
            expected_size=size,
            displayed_filename=path,
        )


@contextmanager
def _explained(what: str, revision: str, started: bool = False) -> Iterator[None]:
    from huggingface_hub import constants
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HTTPError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    hub = constants.ENDPOINT
    again = "; the same command goes on where it stopped" if started else ""
    try:
        yield
    except OfflineModeIsEnabled as error:
        raise FetchError(f"{what}: HF_HUB_OFFLINE is set, so nothing can be fetched; unset it") from error
    except GatedRepoError as error:
        raise FetchError(f"{what}: accept the conditions on its page at {hub}, then 'hf auth login'") from error
    except RepositoryNotFoundError as error:
        raise FetchError(f"{what}: {hub} has no such repository, or it is private ('hf auth login')") from error
    except RevisionNotFoundError as error:
        raise FetchError(f"{what}: no commit or branch {revision!r} there; --revision main takes the newest") from error
    except HfHubHTTPError as error:
        raise FetchError(f"{what}: {hub} answers: {_first_line(error)}; try again later{again}") from error
    except HTTPError as error:
        raise FetchError(
            f"{what}: {'the connection broke' if started else f'cannot reach {hub}'} ({_first_line(error)}); check "
            f"network and proxy, or set HF_ENDPOINT to a mirror{again}"
        ) from error
    except (OSError, ValueError) as error:  # the latter: more than the library fetches in this way
        raise FetchError(f"{what}: {_first_line(error)}; check disk and network{again}") from error


def _first_line(error: BaseException) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)

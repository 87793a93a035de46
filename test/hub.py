"""A Hugging Face hub on this machine: as much of its API as huggingface_hub needs to list and fetch one revision."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@dataclass
class Repository:
    """Contents by commit; ``branches`` name commits. Files of over 1 kB are "LFS": with a sha256, behind a redirect."""

    commits: dict[str, dict[str, bytes]]
    branches: dict[str, str] = field(default_factory=dict)
    licence: str = ""
    gated: bool = False


@dataclass
class Hub:
    """What is served, and what was asked.

    Attributes:
        repositories: by "owner/name".
        asked: (path, range) of every request, oldest first.
        cut: contents of LFS files break off after so many bytes, once.
        hold: contents stop after so many bytes and the connection stays open until ``released`` is set.
        spoil: serve other bytes than listed.
        claimed: sizes that the listing says instead of the true ones.
    """

    repositories: dict[str, Repository] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    cut: int = 0
    hold: int = 0
    spoil: bool = False
    claimed: dict[str, int] = field(default_factory=dict)
    url: str = ""
    held: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)

    def ranges(self) -> list[str]:
        """The ranges asked for, of contents behind a redirect."""
        return [wanted for path, wanted in self.asked if path.startswith("/cdn/")]


@contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    """Serve ``hub`` at ``hub.url`` as long as the block lasts."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield hub
    finally:
        hub.released.set()
        server.shutdown()
        server.server_close()


def _handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: object) -> None:
            pass

        def do_GET(self) -> None:
            path = unquote(urlsplit(self.path).path)
            hub.asked.append((path, self.headers.get("Range", "")))
            listing = re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/(.+))?", path)
            contents = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
            if listing:
                self.list(listing[1], listing[2] or "main")
            elif contents:
                self.resolve(contents[1], contents[2], contents[3])
            elif path.startswith("/cdn/"):
                every = (each for repository in hub.repositories.values() for each in repository.commits.values())
                known = {sha256(content): content for files in every for content in files.values()}
                self.send(known[path.removeprefix("/cdn/")], large=True)
            else:
                self.fail(404, "")

        def find(self, name: str, revision: str) -> tuple[str, dict[str, bytes]] | None:
            repository = hub.repositories.get(name)
            if repository is None:
                self.fail(401, "RepoNotFound")
                return None
            if repository.gated:
                self.fail(403, "GatedRepo")
                return None
            commit = repository.branches.get(revision, revision)
            if commit not in repository.commits:
                self.fail(404, "RevisionNotFound")
                return None
            return commit, repository.commits[commit]

        def list(self, name: str, revision: str) -> None:
            found = self.find(name, revision)
            if found is None:
                return
            siblings = []
            for path, content in found[1].items():
                size = hub.claimed.get(path, len(content))
                blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
                sibling: dict[str, object] = {"rfilename": path, "size": size, "blobId": blob}
                if len(content) > 1000:
                    sibling["lfs"] = {"sha256": sha256(content), "size": size, "pointerSize": 134}
                siblings.append(sibling)
            card = {"license": hub.repositories[name].licence} if hub.repositories[name].licence else {}
            answer = {"id": name, "modelId": name, "sha": found[0], "siblings": siblings, "cardData": card, "tags": []}
            self.send(json.dumps(answer).encode())

        def resolve(self, name: str, revision: str, path: str) -> None:
            found = self.find(name, revision)
            if found is None:
                return
            content = found[1][path]
            if len(content) <= 1000:
                self.send(content)
                return
            self.send_response(302)
            self.send_header("Location", f"{hub.url}/cdn/{sha256(content)}")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def send(self, content: bytes, large: bool = False) -> None:
            if large and hub.spoil:
                content = bytes(len(content))
            start = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
            begin = int(start[1]) if start else 0
            body = content[begin:]
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {begin}-{len(content) - 1}/{len(content)}")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            stop = (hub.cut or hub.hold) if large else 0
            if not stop:
                self.wfile.write(body)
                return
            self.wfile.write(body[:stop])
            self.wfile.flush()
            if hub.hold:
                hub.held.set()
                hub.released.wait(60)
            hub.cut = 0
            self.close_connection = True

        def fail(self, status: int, code: str) -> None:
            self.send_response(status)
            self.send_header("X-Error-Code", code)
            self.send_header("Content-Length", "0")
            self.end_headers()

    return Handler

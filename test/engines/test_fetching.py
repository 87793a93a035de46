"""Fetching: huggingface_hub itself against a hub on this machine, in a process of its own as a user runs it."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from safetensors.torch import save

from dkt_ros.engines.catalogue import MODELS, model_named

from ..hub import Hub, Repository, serving, sha256
from .published import DKT, DVD_CONFIG, dvd_tensors

DVD = "FayeHongfeiZhang/DVD"
DVD_COMMIT = model_named("dvd-1.1").sources[0].revision
LORA = "Daniellesry/DKT-Depth-1-3B-v1.1"
LORA_FILE = "TransPhy3D_depth_lora.safetensors"


@pytest.fixture(scope="module")
def weights() -> bytes:
    return save(dvd_tensors(), metadata={"format": "pt"})


@pytest.fixture
def hub(weights: bytes) -> Iterator[Hub]:
    """DVD as its repository has it, and what DKT is put together from; pickles and pictures lie about in all."""
    clutter = {"README.md": b"# hello", "old.pth": b"\x80\x02", "teaser.png": bytes(2000)}
    dvd = {"model.safetensors": weights + b"", "dvd_1.1.safetensors": weights, "model_config.yaml": DVD_CONFIG.encode()}
    base, lora, codec = (
        (DKT / f"{name}.safetensors").read_bytes()
        for name in ("dit_tiny_reference", "dit_tiny_lora", "vae_tiny_reference")
    )
    commits = {source.repository: source.revision for source in model_named("dkt-depth-1.3b").sources}
    fun, wan = "alibaba-pai/Wan2.1-Fun-1.3B-Control", "Wan-AI/Wan2.1-T2V-1.3B-Diffusers"
    hub = Hub(
        {
            DVD: Repository({DVD_COMMIT: {**dvd, **clutter}}, {"main": DVD_COMMIT}, "cc-by-nc-4.0"),
            fun: Repository({commits[fun]: {"diffusion_pytorch_model.safetensors": base, **clutter}}),
            wan: Repository({commits[wan]: {"vae/diffusion_pytorch_model.safetensors": codec, **clutter}}),
            LORA: Repository({"a" * 40: {LORA_FILE: lora, **clutter}}, {"main": "a" * 40}),
        }
    )
    with serving(hub):
        yield hub


def enlarge(hub: Hub) -> bytes:
    """Make DVD's file 17 MB long, by its header: larger than the blocks in which it is written."""
    large = save(dvd_tensors(), metadata={"format": "pt", "note": "x" * 12_000_000})
    hub.repositories[DVD].commits[DVD_COMMIT]["dvd_1.1.safetensors"] = large
    return large


def environment(hub: Hub, folder: Path, **more: str) -> dict[str, str]:
    """No settings, token or cache of the user's."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    return {**kept, "HF_ENDPOINT": hub.url, "HF_HOME": str(folder / ".hf"), "HF_HUB_DISABLE_TELEMETRY": "1", **more}


def fetch(hub: Hub, folder: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "dkt_ros.cli", "models", "fetch", *arguments, "--out", str(folder / "out")],
        capture_output=True, text=True, stdin=subprocess.DEVNULL, env=environment(hub, folder, **more),
    )  # fmt: skip


def files(folder: Path) -> dict[str, bytes]:
    return {str(each.relative_to(folder)): each.read_bytes() for each in folder.rglob("*") if each.is_file()}


def contents_asked(hub: Hub) -> list[str]:
    return [path for path, _ in hub.asked if "/resolve/" in path]


def test_only_what_is_needed_comes_after_size_and_licence_were_said(hub: Hub, weights: bytes, tmp_path: Path) -> None:
    done = fetch(hub, tmp_path, "dvd-1.1", "--yes")
    assert done.returncode == 0, done.stderr
    found = files(tmp_path / "out")
    assert set(found) == {"dvd_1.1.safetensors", "model_config.yaml", "fetched.json"}
    assert found["dvd_1.1.safetensors"] == weights and found["model_config.yaml"] == DVD_CONFIG.encode()
    said = done.stdout
    assert f"{DVD} at {DVD_COMMIT} (pinned)" in said
    assert "CC BY-NC 4.0: no commercial use" in said and "its page says: cc-by-nc-4.0" in said
    assert f"dvd_1.1.safetensors  {len(weights) / 1e6:.2f} MB" in said
    assert "DVD of a small size" in said and "dkt run INPUT --engine dvd --weights" in said
    assert all(f"/resolve/{DVD_COMMIT}/" in path for path in contents_asked(hub))
    record = json.loads(found["fetched.json"])
    assert record["repositories"] == {DVD: DVD_COMMIT}
    assert record["files"]["dvd_1.1.safetensors"]["sha256"] == sha256(weights)
    assert record["files"]["model_config.yaml"]["sha256"] == sha256(DVD_CONFIG.encode())

    before = len(contents_asked(hub))
    again = fetch(hub, tmp_path, "dvd-1.1")  # nothing to download, nothing to ask
    assert again.returncode == 0 and "0 bytes to download" in again.stdout and len(contents_asked(hub)) == before


def test_nothing_comes_unconfirmed(hub: Hub, tmp_path: Path) -> None:
    done = fetch(hub, tmp_path, "dvd-1.1")
    assert done.returncode == 1 and "add --yes" in done.stderr and "CC BY-NC 4.0" in done.stdout
    assert not contents_asked(hub) and not (tmp_path / "out").exists()


@pytest.mark.parametrize(("typed", "status"), [("y\n", 0), ("\n", 1)])
def test_a_terminal_is_asked(typed: str, status: int, hub: Hub, tmp_path: Path) -> None:
    pty = pytest.importorskip("pty")
    ours, theirs = pty.openpty()
    os.write(ours, typed.encode())
    done = subprocess.run(
        [sys.executable, "-m", "dkt_ros.cli", "models", "fetch", "dvd-1.1", "--out", str(tmp_path / "out")],
        stdin=theirs, capture_output=True, text=True, env=environment(hub, tmp_path),
    )  # fmt: skip
    os.close(ours), os.close(theirs)
    assert done.returncode == status and "under these licences? [y/N]" in done.stdout
    assert (tmp_path / "out" / "dvd_1.1.safetensors").exists() == (status == 0)
    assert status == 0 or "nothing downloaded" in done.stderr


def test_ctrl_c_leaves_no_file_under_its_name_and_the_next_call_goes_on(hub: Hub, tmp_path: Path) -> None:
    weights = enlarge(hub)
    hub.hold = 11_000_000
    command = [
        sys.executable,
        "-m",
        "dkt_ros.cli",
        "models",
        "fetch",
        "dvd-1.1",
        "--yes",
        "--out",
        str(tmp_path / "out"),
    ]
    running = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(hub, tmp_path),
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a job in the background ignores it
    )  # fmt: skip
    assert hub.held.wait(60)
    end = time.monotonic() + 60
    while not sum(len(content) for content in files(tmp_path / "out").values()) >= 10_000_000:
        assert time.monotonic() < end
        time.sleep(0.1)
    running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=30)
    assert running.returncode == 130 and "the same command goes on" in said and "Traceback" not in said
    assert set(files(tmp_path / "out")) - {"fetched.json"} == {f".dvd_1.1.safetensors.{sha256(weights)[:12]}.partial"}
    here = next((tmp_path / "out").glob(".dvd*.partial")).stat().st_size
    assert here >= 10_000_000  # huggingface_hub writes blocks of 10 MiB

    hub.hold = 0
    done = fetch(hub, tmp_path, "dvd-1.1", "--yes")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "dvd_1.1.safetensors").read_bytes() == weights
    assert hub.ranges() == ["", f"bytes={here}-"]
    assert not list((tmp_path / "out").glob(".*.partial"))


def test_what_a_killed_download_left_is_not_downloaded_again(hub: Hub, weights: bytes, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    partial = tmp_path / "out" / f".dvd_1.1.safetensors.{sha256(weights)[:12]}.partial"
    partial.write_bytes(weights[:1_234_567])
    done = fetch(hub, tmp_path, "dvd-1.1", "--yes")
    assert done.returncode == 0, done.stderr
    assert hub.ranges() == ["bytes=1234567-"] and (tmp_path / "out" / "dvd_1.1.safetensors").read_bytes() == weights


def test_a_broken_connection_is_taken_up_again(hub: Hub, tmp_path: Path) -> None:
    weights = enlarge(hub)
    hub.cut = 11_000_000
    done = fetch(hub, tmp_path, "dvd-1.1", "--yes")
    assert done.returncode == 0, done.stderr
    assert hub.ranges() == ["", f"bytes={10 << 20}-"]
    assert (tmp_path / "out" / "dvd_1.1.safetensors").read_bytes() == weights


@pytest.mark.parametrize("left", [b"", b"damaged before"])
def test_contents_that_are_not_as_listed_are_removed(left: bytes, hub: Hub, weights: bytes, tmp_path: Path) -> None:
    hub.spoil = not left
    if left:
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / f".dvd_1.1.safetensors.{sha256(weights)[:12]}.partial").write_bytes(left)
    done = fetch(hub, tmp_path, "dvd-1.1", "--yes")
    assert done.returncode == 1 and "what came is not what the hub lists" in done.stderr
    assert set(files(tmp_path / "out")) == {"fetched.json"}


def test_an_unpinned_repository_stays_at_the_commit_that_was_found(hub: Hub, tmp_path: Path) -> None:
    done = fetch(hub, tmp_path, "dkt-depth-1.3b", "--yes")
    assert done.returncode == 0, done.stderr
    assert f"{LORA} at {'a' * 40} (the newest now; --revision pins it)" in done.stdout
    assert "still to do: dkt models embed-prompt --text depth" in done.stdout
    out = tmp_path / "out"
    names = {"base/diffusion_pytorch_model.safetensors", "vae/diffusion_pytorch_model.safetensors", f"lora/{LORA_FILE}"}
    assert set(files(out)) == names | {"fetched.json"}

    # The branch moves on: what is here still belongs together.
    changed = (DKT / "dit_tiny_lora.safetensors").read_bytes().replace(b"blocks.0", b"blocks.1")
    hub.repositories[LORA].commits["b" * 40] = {LORA_FILE: changed}
    hub.repositories[LORA].branches["main"] = "b" * 40
    (out / "lora" / LORA_FILE).unlink()
    again = fetch(hub, tmp_path, "dkt-depth-1.3b", "--yes")
    assert again.returncode == 0 and f"{LORA} at {'a' * 40} (pinned)" in again.stdout
    assert (out / "lora" / LORA_FILE).read_bytes() == (DKT / "dit_tiny_lora.safetensors").read_bytes()

    # Asked for, the newer one does not overwrite it.
    other = fetch(hub, tmp_path, "dkt-depth-1.3b", "--yes", "--revision", f"{LORA}=main")
    assert other.returncode == 1 and "there already, and not" in other.stderr and "move it away" in other.stderr
    assert (out / "lora" / LORA_FILE).read_bytes() == (DKT / "dit_tiny_lora.safetensors").read_bytes()


def test_from_nothing_to_an_engine(hub: Hub, tmp_path: Path) -> None:
    """Every command of docs/models.md, in order: model, text encoder, prompt, check; then the engine loads."""
    from dkt_ros.engines import EngineOptions, load_engine
    from dkt_ros.engines.text_encoder import load_encoder

    from .test_prompts import tokenizer_folder

    for name in ("source", "out", "text"):
        (tmp_path / name).mkdir()
    (tmp_path / "source" / "enc.safetensors").write_bytes((DKT / "t5_tiny_reference.safetensors").read_bytes())
    load_encoder(tmp_path / "source").save_pretrained(tmp_path / "source" / "text_encoder", max_shard_size="40KB")
    tokenizer_folder(tmp_path / "source" / "google" / "umt5-xxl")
    wan, tokens = model_named("text-encoder").sources
    hub.repositories[wan.repository].commits[wan.revision] |= {
        name: content for name, content in files(tmp_path / "source").items() if name.startswith("text_encoder/")
    }
    hub.repositories[tokens.repository] = Repository(
        {tokens.revision: {n: content for n, content in files(tmp_path / "source").items() if n.startswith("google/")}}
    )
    kept = environment(hub, tmp_path)

    def dkt(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "dkt_ros.cli", "models", *arguments],
            cwd=tmp_path, capture_output=True, text=True, env=kept,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    dkt("fetch", "dkt-depth-1.3b", "--out", "out", "--yes")
    assert "then: dkt models embed-prompt" in dkt("fetch", "text-encoder", "--out", "text", "--yes")
    dkt("embed-prompt", "--text", "depth", "--encoder", "text", "--out", "out/prompt.safetensors")
    assert "engine dkt: runs on it" in dkt("verify", "out")
    assert load_engine("dkt", EngineOptions(tmp_path / "out", device="cpu")).card.name == "dkt"


def test_a_file_that_the_user_has_already_is_checked_and_kept(hub: Hub, weights: bytes, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "dvd_1.1.safetensors").write_bytes(weights)
    done = fetch(hub, tmp_path, "dvd-1.1", "--yes")
    assert done.returncode == 0 and not hub.ranges()
    (tmp_path / "out" / "dvd_1.1.safetensors").write_bytes(weights[:-1] + b"\x01")
    (tmp_path / "out" / "fetched.json").unlink()
    done = fetch(hub, tmp_path, "dvd-1.1", "--yes")
    assert done.returncode == 1 and "there already, and not" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "more", "words"),
    [
        (["dvd-1.1"], {"HF_HUB_OFFLINE": "1"}, "HF_HUB_OFFLINE is set, so nothing can be fetched; unset it"),
        (["dvd-1.1"], {"HF_ENDPOINT": "http://127.0.0.1:9"}, "cannot reach http://127.0.0.1:9"),
        (["dvd-1.1", "--revision", "nowhere"], {}, "no commit or branch 'nowhere' there; --revision main takes"),
        (["dvd-1.1", "--revision", "a/b=main"], {}, f"dvd-1.1 is from {DVD}; write --revision REPOSITORY=COMMIT"),
        (["depthlab"], {}, "prs-eth/marigold-depth-v1-0: http"),
        (["sam"], {}, "'sam': no such model; one of nano, dkt-depth-1.3b"),
    ],
)
def test_one_line_says_why_nothing_came(
    arguments: list[str], more: dict[str, str], words: str, hub: Hub, tmp_path: Path
) -> None:
    done = fetch(hub, tmp_path, *arguments, "--yes", **more)
    assert done.returncode == 1 and words in done.stderr, done.stderr
    assert done.stderr.startswith("dkt models: ") and done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_gated_repository_says_what_to_do(hub: Hub, tmp_path: Path) -> None:
    hub.repositories[DVD].gated = True
    done = fetch(hub, tmp_path, "dvd-1.1", "--yes")
    assert (
        done.returncode == 1 and "accept the conditions on its page" in done.stderr and "hf auth login" in done.stderr
    )


def test_several_files_that_could_be_meant_are_named(hub: Hub, tmp_path: Path) -> None:
    commit = hub.repositories[LORA].commits["a" * 40]
    commit["second.safetensors"] = commit[LORA_FILE]
    done = fetch(hub, tmp_path, "dkt-depth-1.3b", "--yes")
    assert done.returncode == 1 and not contents_asked(hub)
    assert f"2 files could be meant: {LORA_FILE}, second.safetensors" in done.stderr


def test_a_repository_with_pickles_only_gives_nothing(hub: Hub, tmp_path: Path) -> None:
    del hub.repositories[LORA].commits["a" * 40][LORA_FILE]
    done = fetch(hub, tmp_path, "dkt-depth-1.3b", "--yes")
    assert done.returncode == 1 and "no *.safetensors at aaaaaaaaaaaa, only README.md, old.pth" in done.stderr


def test_a_name_that_leaves_the_folder_is_refused(hub: Hub, tmp_path: Path) -> None:
    commit = hub.repositories[LORA].commits["a" * 40]
    commit["..\\evil.safetensors"] = commit.pop(LORA_FILE)
    done = fetch(hub, tmp_path, "dkt-depth-1.3b", "--yes")
    assert done.returncode == 1 and "leaves the folder; refused" in done.stderr and not contents_asked(hub)


def test_room_on_the_disk_is_checked_first(hub: Hub, tmp_path: Path) -> None:
    hub.claimed["dvd_1.1.safetensors"] = 10**16
    done = fetch(hub, tmp_path, "dvd-1.1", "--yes")
    assert done.returncode == 1 and "10000000.0 GB still to come; free space" in done.stderr
    assert not contents_asked(hub) and not (tmp_path / "out").exists()


def test_a_full_disk_in_the_middle_leaves_nothing_under_the_final_name(
    hub: Hub, weights: bytes, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "dkt_ros.cli", "models", "fetch", "dvd-1.1", "--yes", "--out", str(tmp_path / "out")],
        capture_output=True, text=True, env=environment(hub, tmp_path),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000)),
    )  # fmt: skip
    assert done.returncode == 1 and "the same command goes on where it stopped" in done.stderr, done.stderr
    assert "dvd_1.1.safetensors" not in files(tmp_path / "out")
    assert fetch(hub, tmp_path, "dvd-1.1", "--yes").returncode == 0
    assert (tmp_path / "out" / "dvd_1.1.safetensors").read_bytes() == weights


def test_no_model_asks_for_a_pickle() -> None:
    patterns = [pattern for model in MODELS for each in model.sources for pattern in (*each.files, *each.optional)]
    assert patterns and all(
        pattern.endswith((".safetensors", ".json", ".yaml", "spiece.model")) for pattern in patterns
    )

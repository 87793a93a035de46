"""The published models' stages, ours beside a plain diffusers pipeline: time, operations, memory, difference.

    python -m benchmarks.engines                          what this machine can do: real size on a GPU, else a small one
    python -m benchmarks.engines --count 832x480          operations and memory at real size, on paper (no GPU needed)
    python -m benchmarks.engines --out out                also writes OUT/engines.md

Plain is diffusers' own modules with one call per clip: the whole clip encoded, overlap again, 512 text and 257 image
tokens, torch's own attention, `torch.inference_mode`; bfloat16 on a GPU, float32 on a CPU. Ours is `WanCodec` and
`FoldedTransformer` on the same random weights, in the middle of a recording: new frames encoded only. Profiles are
those of the engines; "dkt reference" decodes every latent once (its windows are joined before), the others the whole
clip. Rounds alternate between both; times are medians (on a CPU of the thread's own time, on one core). The ratio holds
for one run; a machine's milliseconds do not carry over to another.

Compiling (GPU, or --compile) is timed apart; torch keeps its results in --cache between runs.
"""

from __future__ import annotations

import argparse
import copy
import os
import statistics
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from diffusers import AutoencoderKLWan, WanTransformer3DModel
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.eval import commit
from dkt_ros.engines.flow import euler, sigmas, times
from dkt_ros.engines.wan_codec import WanCodec
from dkt_ros.engines.wan_transformer import FoldedTransformer
from dkt_ros.evaluation.tables import markdown
from dkt_ros.files import written_whole

#: Rows of a prompt of one word with its end token.
PROMPT_ROWS = 2
DVD_TIME = 500.0
#: Real: 1.3B. Small: the real codec, and two blocks of the real width.
LAYERS = {"real": 30, "small": 2}


@dataclass(frozen=True)
class Profile:
    """Clips of ``frames`` frames, ``overlap`` of them shared; ``joined``: windows are joined before decoding."""

    name: str
    frames: int
    overlap: int
    steps: int
    joined: bool = False

    @property
    def fresh(self) -> int:
        return self.frames - self.overlap


PROFILES = (
    Profile("dkt reference", 81, 9, 5, joined=True),
    Profile("dkt low_latency", 21, 1, 5),
    Profile("dvd reference", 45, 9, 1),
    Profile("dvd low_latency", 21, 5, 1),
)


@dataclass(frozen=True)
class Stage:
    """The same stage twice."""

    name: str
    plain: Callable[[], Tensor]
    ours: Callable[[], Tensor]


class Pair:
    """Plain modules and ours on the same weights.

    Args:
        family: "dkt" or "dvd".
        layers: transformer blocks.
        device, dtype: of both.
        compiled: whether ours are compiled.
    """

    def __init__(self, family: str, layers: int, device: torch.device, dtype: torch.dtype, compiled: bool) -> None:
        torch.manual_seed(0)
        self.device, self.dtype, self.family = device, dtype, family
        self.image = family == "dkt"
        with torch.device(device):
            codec: Any = AutoencoderKLWan()
            transformer: Any = WanTransformer3DModel(
                num_attention_heads=12,
                in_channels=48 if self.image else 16,
                out_channels=16,
                ffn_dim=8960,
                num_layers=layers,
                image_dim=1280 if self.image else None,
                added_kv_proj_dim=1536 if self.image else None,
            )
        self.codec = torch.nn.Module.to(codec, dtype).eval().requires_grad_(False)
        self.transformer = _as_loaded(transformer, dtype)
        self.times = times(5) if self.image else [DVD_TIME]
        text = torch.zeros(512, 4096)
        if self.image:
            text[:PROMPT_ROWS] = torch.randn(PROMPT_ROWS, 4096)
        self.text = text[None].to(device, dtype)
        attention = "cudnn" if device.type == "cuda" else "default"
        twin = copy.deepcopy(self.transformer)
        self.folded = FoldedTransformer(twin, self.times, text, self.image, attention, compiled)
        self.ours = WanCodec(copy.deepcopy(self.codec), device, dtype, compiled)
        #: GB of an encoder and a decoder in the middle of a recording.
        self.remembered = (0.0, 0.0)

    def plain_encode(self, video: Tensor) -> Tensor:
        moments = self.codec.encode(video.to(self.dtype)).latent_dist.mode().float()
        return (moments - self.ours._mean) / self.ours._std

    def plain_decode(self, latents: Tensor) -> Tensor:
        raw = (latents * self.ours._std + self.ours._mean).to(self.dtype)
        return self.codec.decode(raw).sample.float()

    def plain_denoise(self, control: Tensor, steps: int) -> Tensor:
        tokens = torch.zeros(1, 257, 1280, device=self.device, dtype=self.dtype) if self.image else None

        def ask(latents: Tensor, step: int) -> Tensor:
            given = torch.cat([latents, control, torch.zeros_like(control)], 1) if self.image else latents
            time_ = torch.full((1,), self.times[step], device=self.device)
            return self.transformer(given.to(self.dtype), time_, self.text, tokens).sample.float()

        return self._sampled(control, steps, ask)

    def folded_denoise(self, control: Tensor, steps: int) -> Tensor:
        def ask(latents: Tensor, step: int) -> Tensor:
            return self.folded(torch.cat([latents, control], 1) if self.image else latents, step)

        return self._sampled(control, steps, ask)

    def _sampled(self, control: Tensor, steps: int, ask: Callable[[Tensor, int], Tensor]) -> Tensor:
        if not self.image:
            return ask(control, 0)
        levels = sigmas(steps)
        generator = torch.Generator().manual_seed(1)
        latents = torch.randn(control.shape, generator=generator).to(self.device)
        for step in range(steps):
            latents = euler(latents, ask(latents, step), levels[step], levels[step + 1])
        return latents

    def stages(self, profile: Profile, video: Tensor) -> list[Stage]:
        """Encode, denoise and decode one clip in the middle of a recording.

        Ours keep what the engines keep: the encoder goes on, and so does the decoder of joined windows; the decoder of
        other clips is kept as it was before, for the next one.
        """
        latents = torch.empty(1, 16, 1 + (profile.frames - 1) // 4, video.shape[3] // 8, video.shape[4] // 8)
        latents = latents.normal_().to(self.device)
        encoder, decoder = self.ours.encoder(), self.ours.decoder()
        encoder.push(video[:, :, :9])
        decoder.push(latents[:, :, :3])
        self.remembered = remembered(encoder), remembered(decoder)
        fresh, decoded = video[:, :, profile.overlap :], latents
        if profile.joined:
            decoded = latents[:, :, -(profile.fresh // 4) :]

        def decode() -> Tensor:
            return (decoder if profile.joined else decoder.copy()).push(decoded)

        return [
            Stage("encode", lambda: self.plain_encode(video), lambda: encoder.push(fresh)),
            Stage(
                "denoise",
                lambda: self.plain_denoise(latents, profile.steps),
                lambda: self.folded_denoise(latents, profile.steps),
            ),
            Stage("decode", lambda: self.plain_decode(latents), decode),
        ]

    def difference(self, profile: Profile, video: Tensor) -> tuple[float, float]:
        """How far ours is from plain on a recording's first clip: REL of the disparity, and error over its contrast."""
        plain = self.plain_decode(self.plain_denoise(self.plain_encode(video), profile.steps)).mean(1).add(1) / 2
        ours = self.ours.decode(self.folded_denoise(self.ours.encode(video), profile.steps)).mean(1).add(1) / 2
        far = plain.clamp(min=1e-3)
        contrast = (plain - plain.mean()).abs().mean()
        return float(((ours - plain).abs() / far).mean()), float((ours - plain).abs().mean() / contrast)


def _as_loaded(transformer: Any, dtype: torch.dtype) -> Any:
    """In ``dtype`` but for what diffusers keeps in float32 when it loads a checkpoint."""
    kept = ("time_embedder", "scale_shift_table", "norm1", "norm2", "norm3")
    for name, each in transformer.named_parameters():
        each.data = each.data if any(part in name.split(".") for part in kept) else each.data.to(dtype)
    return transformer.eval().requires_grad_(False)


class LiveBytes(TorchDispatchMode):
    """The most bytes that tensors met inside held at once; no allocator, no kernels' scratch space.

    What was there before counts from when it is first viewed, but for the weights of ``modules``.
    """

    def __init__(self, *modules: Any) -> None:
        super().__init__()
        self.now = self.most = 0
        self._known = set(storages(*modules))

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for each in out if isinstance(out, tuple | list) else [out]:
            if isinstance(each, Tensor):
                self._count(each)
        return out

    def _count(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage._cdata in self._known:
            return
        key, size = storage._cdata, storage.nbytes()
        self._known.add(key)
        self.now += size
        self.most = max(self.most, self.now)

        def gone() -> None:
            self._known.discard(key)
            self.now -= size

        weakref.finalize(storage, gone)


@contextmanager
def fused_attention() -> Iterator[None]:
    """Attention without its matrix, as a GPU's kernels do it; only for tensors without contents."""
    written_out = torch.nn.functional.scaled_dot_product_attention

    def fused(query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any) -> Tensor:
        return torch.empty_like(query)

    torch.nn.functional.scaled_dot_product_attention = fused
    try:
        yield
    finally:
        torch.nn.functional.scaled_dot_product_attention = written_out


def operations(run: Callable[[], object]) -> float:
    """Floating-point operations, two for a product and its sum, in units of 10^12."""
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops() / 1e12


def clock(device: torch.device) -> float:
    """Seconds: of this thread on a CPU, of the wall once a GPU is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        return time.perf_counter()
    return time.thread_time()


def timed(run: Callable[[], object], device: torch.device) -> float:
    start = clock(device)
    run()
    return clock(device) - start


def peak(stages: list[Stage], device: torch.device) -> float | None:
    """GB that a GPU held at most during our stages; None on a CPU."""
    if device.type != "cuda":
        return None
    torch.cuda.reset_peak_memory_stats(device)
    for stage in stages:
        stage.ours()
    return torch.cuda.max_memory_allocated(device) / 1e9


def weight_bytes(*modules: Any) -> float:
    """GB of parameters and buffers, each storage once."""
    return sum(storages(*modules).values()) / 1e9


def storages(*modules: Any) -> dict[int, int]:
    """Bytes of parameters and buffers by storage."""
    return {
        each.untyped_storage()._cdata: each.untyped_storage().nbytes()
        for module in modules
        for each in (*module.parameters(), *module.buffers())
    }


def remembered(stream: Any) -> float:
    """GB that a codec's stream carries on."""
    return sum(each.untyped_storage().nbytes() for each in stream._memory if isinstance(each, Tensor)) / 1e9


def measure(size: tuple[int, int], layers: int, device: torch.device, compiled: bool, rounds: int) -> list[str]:
    """Sections of the report for every profile."""
    width, height = size
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    sections = []
    pairs: dict[str, Pair] = {}
    for profile in PROFILES:
        family = profile.name.split()[0]
        if family not in pairs:
            pairs = {family: Pair(family, layers, device, dtype, compiled)}
        pair = pairs[family]
        with torch.inference_mode():
            video = torch.rand(1, 3, profile.frames, height, width, device=device) * 2 - 1
            start = time.perf_counter()
            rel, of_contrast = pair.difference(profile, video)
            stages = pair.stages(profile, video)
            for stage in stages:
                stage.ours()
            warm = time.perf_counter() - start
            taken: dict[str, list[tuple[float, float]]] = {stage.name: [] for stage in stages}
            for _ in range(rounds):
                for stage in stages:
                    taken[stage.name].append((timed(stage.plain, device), timed(stage.ours, device)))
            most = peak(stages, device)
        both = [tuple(statistics.median(each) for each in zip(*taken[stage.name], strict=True)) for stage in stages]
        both.append((sum(a for a, _ in both), sum(b for _, b in both)))
        rows = [["stage", "plain, ms per new frame", "ours", "ratio"]]
        for name, (plain, ours) in zip([*taken, "all"], both, strict=True):
            per = 1e3 / profile.fresh
            rows.append([name, f"{plain * per:.1f}", f"{ours * per:.1f}", f"{plain / ours:.2f}"])
        lines = [f"### {profile.name}: {profile.frames} frames, {profile.overlap} shared, {profile.steps} steps"]
        lines += [markdown(rows)]
        lines += [
            f"First clip: REL {100 * rel:.4f} %, error {100 * of_contrast:.4f} % of the contrast. Warm-up {warm:.0f} s."
        ]
        if most is not None:
            others = weight_bytes(pair.codec, pair.transformer)
            lines[-1] += f" Peak {most - others:.2f} GB without the plain modules' {others:.2f} GB."
        print("\n\n".join(lines), flush=True)
        sections.append("\n\n".join(lines))
    return sections


def count(size: tuple[int, int]) -> list[str]:
    """The same table in operations and bytes, on tensors without contents: real size, bfloat16."""
    width, height = size
    device, sections = torch.device("meta"), []
    pairs: dict[str, Pair] = {}
    for profile in PROFILES:
        family = profile.name.split()[0]
        if family not in pairs:
            pairs = {family: Pair(family, LAYERS["real"], device, torch.bfloat16, compiled=False)}
        pair = pairs[family]
        rows = [["stage", "plain, TFLOP per new frame", "ours", "ratio", "plain, GB at most", "ours", "ours in all"]]
        total = [0.0, 0.0]
        plain_nets = pair.transformer, pair.codec
        our_nets = pair.folded, pair.ours.encode_piece.net, pair.ours.decode_piece.net
        weights = weight_bytes(*our_nets)
        # One step is counted, and is like any other.
        once = replace(profile, steps=1)
        with torch.no_grad():
            stages = pair.stages(once, torch.empty(1, 3, profile.frames, height, width, device=device))
            for stage in stages:
                often = profile.steps if stage.name == "denoise" else 1
                counts = [often * operations(run) / profile.fresh for run in (stage.plain, stage.ours)]
                total = [a + b for a, b in zip(total, counts, strict=True)]
                live = []
                for run, nets in ((stage.plain, plain_nets), (stage.ours, our_nets)):
                    with fused_attention(), LiveBytes(*nets) as bytes_:
                        run()
                    live.append(bytes_.most / 1e9)
                # What the stage itself does not see: the encoder's memory, the decoder's.
                own = {"encode": pair.remembered[0], "decode": pair.remembered[1]}
                idle = sum(pair.remembered) - own.get(stage.name, 0.0)
                live.append(weights + idle + live[1])
                rows.append(
                    [
                        stage.name,
                        *(f"{each:.3f}" for each in counts),
                        f"{counts[0] / counts[1]:.2f}",
                        *(f"{each:.2f}" for each in live),
                    ]
                )
        rows.append(["all", *(f"{each:.3f}" for each in total), f"{total[0] / total[1]:.2f}", "", "", ""])
        said = f"Weights: plain {weight_bytes(*plain_nets):.2f} GB, ours {weights:.2f} GB; only in the last column. "
        said += "Remembered: encoder {:.2f} GB, decoder {:.2f} GB.".format(*pair.remembered)
        lines = [f"### {profile.name}: {profile.frames} frames, {profile.overlap} shared, {profile.steps} steps"]
        sections.append("\n\n".join([*lines, markdown(rows), said]))
        print(sections[-1], flush=True)
    return sections


def pixels(text: str) -> tuple[int, int]:
    width, height = (int(part) for part in text.split("x"))
    return width, height


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    gpu = torch.cuda.is_available()
    parser.add_argument("--size", type=pixels, default=(832, 480) if gpu else (64, 32), help="WxH of the pictures")
    parser.add_argument("--layers", type=int, default=LAYERS["real" if gpu else "small"], help="transformer blocks")
    parser.add_argument("--rounds", type=int, default=5 if gpu else 3)
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=gpu)
    parser.add_argument("--cache", type=Path, default=Path("~/.cache/dkt_ros/inductor"), help="what compiling leaves")
    parser.add_argument("--count", type=pixels, metavar="WxH", help="count operations and bytes instead of timing")
    parser.add_argument("--out", type=Path, help="folder for engines.md")
    arguments = parser.parse_args()
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(arguments.cache.expanduser()))
    if arguments.count:
        title, sections = "on paper, {}x{}".format(*arguments.count), count(arguments.count)
    else:
        device = torch.device("cuda" if gpu else "cpu")
        name = (
            torch.cuda.get_device_name() if gpu else f"CPU, 1 of {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
        )
        title = "{}x{}, {} blocks, {}".format(*arguments.size, arguments.layers, name)
        sections = measure(arguments.size, arguments.layers, device, arguments.compile, arguments.rounds)
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)
        with written_whole(arguments.out / "engines.md") as path:
            path.write_text(
                "\n\n".join([f"## engines, {title}, commit {commit()}, torch {torch.__version__}", *sections]) + "\n"
            )


if __name__ == "__main__":
    main()

"""Memory and time of training the 1.3B models by the bundled recipes, on random weights of the real sizes.

    python -m benchmarks.training                          all five recipes, each kind of batch that they have
    python -m benchmarks.training --recipes dvd_1_3b --rounds 5 --out out      also writes OUT/training.md

A batch is what the trainer makes of one: encoding by the frozen codec, forward pass under autocast, backward pass with
recomputed activations; the optimiser's step is timed by itself. A loader's batch is measured at its longest clips.
"step" is what one process needs for one optimiser step: ``accumulate`` batches as the recipe mixes them, at the mean of
their lengths' shares, and the optimiser. Drawing the data (another thread's work) is not in it. Without a GPU there are
only the numbers that paper gives, and the status is 0.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKLWan, WanTransformer3DModel
from diffusers.models.transformers.transformer_wan import WanRotaryPosEmbed
from torch import nn

from benchmarks.eval import commit
from dkt_ros.engines.wan_codec import WanCodec
from dkt_ros.engines.wan_completion import LIMIT
from dkt_ros.evaluation.tables import markdown
from dkt_ros.files import written_whole
from dkt_ros.training.flow_loss import LEVELS
from dkt_ros.training.lora_model import adapters, add_adapters, widen
from dkt_ros.training.optimisers import Optimisers
from dkt_ros.training.recipe import Recipe, load_recipe
from dkt_ros.training.tasks.dkt import Dkt
from dkt_ros.training.tasks.dvd import Dvd
from dkt_ros.training.wan_samples import Batch, Completion
from dkt_ros.training.wan_task import COMPLETION, WanModule, WanTask

RECIPES = ("dkt_depth_1_3b", "dkt_normal_1_3b", "dvd_1_3b", "dkt_c", "dvd_c")
GIB = 2**30


def transformer_of(recipe: Recipe) -> Any:
    """The real transformer, without memory, and its adapters."""
    image = recipe.task.startswith("dkt")
    with torch.device("meta"):
        model: Any = WanTransformer3DModel(
            num_attention_heads=12,
            ffn_dim=8960,
            num_layers=30,
            in_channels=48 if image else 16,
            image_dim=1280 if image else None,
            added_kv_proj_dim=1536 if image else None,
        )
    return model


def on_paper(recipe: Recipe) -> dict[str, float]:
    """Parameters, and gigabytes that do not depend on the batch."""
    model = transformer_of(recipe)
    base = sum(parameter.numel() for parameter in model.parameters())
    with torch.device("meta"):
        add_adapters(model, recipe.lora["rank"])
        if recipe.task.endswith("_c"):
            widen(model)
    trained = sum(parameter.numel() for parameter in adapters(model).values())
    copies = 4 + (1 if recipe.ema else 0)  # value, gradient, two moments, average
    return {
        "base, million": base / 1e6,
        "trained, million": trained / 1e6,
        "base, GiB": 2 * base / GIB,
        "trained and optimiser, GiB": 4 * copies * trained / GIB,
    }


def kept_activations(recipe: Recipe, loader: Mapping[str, Any]) -> float:
    """GiB of what is kept for the backward pass where the blocks are recomputed: one input (bfloat16) per block."""
    frames, (height, width) = max(lengths(loader)), loader["size"]
    tokens = loader.get("batch", 1) * (1 + (frames - 1) // 4) * (height // 16) * (width // 16)
    return 30 * tokens * 1536 * 2 / GIB


def lengths(loader: Mapping[str, Any]) -> list[int]:
    """Clip lengths of a loader as the recipe has it."""
    frames = loader.get("frames", 1)
    return [frames] if isinstance(frames, int) else list(frames)


def random_task(recipe: Recipe, device: torch.device) -> WanTask:
    """The recipe's task on random weights of the real sizes: its loss is the real one, it has no data."""
    kind: Any = Dkt if recipe.task.startswith("dkt") else Dvd
    task = kind.__new__(kind)
    transformer = transformer_of(recipe).to(torch.bfloat16).to_empty(device=device)
    vae: Any = AutoencoderKLWan()
    for module in (transformer, vae):
        for parameter in module.parameters():
            nn.init.normal_(parameter.data, std=0.02)
    transformer.rope = WanRotaryPosEmbed(128, (1, 2, 2), 1024).to(device)  # buffers that are not initialised above
    add_adapters(transformer, recipe.lora["rank"])
    task.recipe, task.transformer, task.completes = recipe, transformer, recipe.task.endswith("_c")
    if task.completes:
        widen(transformer)
    given = {key: recipe.model[key] for key in COMPLETION if key in recipe.model}
    task.completion = Completion(**given)
    task.codec = WanCodec(vae, device, torch.bfloat16, limit=LIMIT)
    if kind is Dkt:
        task.weighting = recipe.model["weighting"]
        task.text, task.image = torch.zeros(512, 4096), torch.zeros(1, 1280)
        task.text[:2] = torch.randn(2, 4096)
    else:
        task.denoise_step = 0.5
    task.module = WanModule(transformer, task.loss)
    if recipe.checkpointing:
        transformer.enable_gradient_checkpointing()
    return task


def random_batch(recipe: Recipe, loader: Mapping[str, Any], frames: int, device: torch.device) -> Batch:
    """One of the loader's batches of clips of that length, of noise."""
    clips, (height, width) = loader.get("batch", 1), loader["size"]
    video = torch.rand(clips, 3, frames, height, width, device=device) * 2 - 1
    level = torch.randint(LEVELS, (clips,), device=device) if recipe.task.startswith("dkt") else None
    if not recipe.task.endswith("_c"):
        return Batch(video, video.flip(-1), level=level)
    plane = torch.rand(clips, frames, height, width, device=device)
    return Batch(video, video.flip(-1), plane, plane, plane + 0.5, plane > 0.5, level)


def seconds(run: Callable[[], object], rounds: int) -> float:
    """Median of ``rounds`` on the GPU, after one that is not counted."""
    taken = []
    for _ in range(rounds + 1):
        torch.cuda.synchronize()
        start = time.perf_counter()
        run()
        torch.cuda.synchronize()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken[1:])


def measured(recipe: Recipe, rounds: int, device: torch.device) -> Iterator[dict[str, Any]]:
    """One row per loader, then one for the step."""
    task = random_task(recipe, device)
    trained = {name: p for name, p in task.module.named_parameters() if p.requires_grad}
    optimiser = Optimisers([*task.groups()], trained, recipe.optimiser)
    average = [p.detach().clone() for p in trained.values()] if recipe.ema else []
    amp = torch.autocast("cuda", torch.bfloat16) if recipe.precision == "bfloat16" else nullcontext()

    def differentiate(batch: Batch) -> None:
        with amp:
            total = task.module(batch)["total"]
        total.backward()

    step = 0.0
    loaders = recipe.data["loaders"]
    weights = np.array([loader.get("weight", 1) for loader in loaders], float)
    for loader, share in zip(loaders, weights / weights.sum(), strict=True):
        longest = max(lengths(loader))
        batch = random_batch(recipe, loader, longest, device)
        torch.cuda.reset_peak_memory_stats()
        whole, encoding = seconds(partial(differentiate, batch), rounds), seconds(partial(task.latents, batch), rounds)
        yield {
            "batch": f"{loader['name']}: {loader.get('batch', 1)} x {longest} at {loader['size'][::-1]}",
            "s": whole,
            "of that encoding, s": encoding,
            "peak, GiB": torch.cuda.max_memory_allocated() / GIB,
        }
        for frames in lengths(loader):
            short = random_batch(recipe, loader, frames, device)
            taken = whole if frames == longest else seconds(partial(differentiate, short), 1)
            step += recipe.accumulate * share * taken / len(lengths(loader))
    update = seconds(partial(optimiser.step, 1e-6), rounds)
    yield {"batch": "optimiser", "s": update, "peak, GiB": torch.cuda.max_memory_allocated() / GIB}
    yield {"batch": f"step of {recipe.accumulate} batches, one process", "s": step + update}
    del average


def main() -> int:
    """See the module's text."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipes", nargs="+", default=RECIPES, metavar="NAME", help="default: all five")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="timed rounds (default: %(default)s)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="also write DIR/training.md")
    given = parser.parse_args()
    rows, recipes = [], {name: load_recipe(name) for name in given.recipes}
    lines = [f"Training of the 1.3B models, commit {commit()}", "", "On paper:", ""]
    for name, recipe in recipes.items():
        activations = max(kept_activations(recipe, loader) for loader in recipe.data["loaders"])
        rows.append({"recipe": name, **on_paper(recipe), "kept activations at most, GiB": activations})
    lines += [table(rows), ""]
    print("\n".join(lines))
    if not torch.cuda.is_available():
        print("no GPU here: nothing measured")
    else:
        device, found = torch.device("cuda"), []
        for name, recipe in recipes.items():
            for row in measured(recipe, given.rounds, device):
                found.append({"recipe": name, **row})
                print(found[-1], flush=True)
            torch.cuda.empty_cache()
        lines += [f"Measured on {torch.cuda.get_device_name()}, torch {torch.__version__}:", "", table(found), ""]
        print("\n".join(lines[-4:]))
    if given.out:
        given.out.mkdir(parents=True, exist_ok=True)
        with written_whole(given.out / "training.md") as path:
            path.write_text("\n".join(lines))
    return 0


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown of rows that may lack columns."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    return markdown([names, *([_cell(row.get(name)) for name in names] for row in rows)])


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    raise SystemExit(main())

"""Parameters from files into a module that has none yet: one at a time, adapters merged, one copy in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn

from dkt_ros.engines.headers import CheckpointError, Header
from dkt_ros.engines.lora import merged


@dataclass(frozen=True)
class Stored:
    """Where a parameter lies: its tensor, and those of the adapters to be merged into it (A, B)."""

    header: Header
    name: str
    adapters: tuple[tuple[Header, str, str], ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        return self.header.shapes[self.name]


def fill(
    module: nn.Module,
    stored: Mapping[str, Stored],
    source: Path,
    dtype: torch.dtype,
    device: torch.device | str,
    float32: set[str],
) -> None:
    """Give a module on the meta device its parameters, in evaluation mode and without gradients.

    Args:
        stored: for every name of the module's state.
        source: the file, for messages.
        dtype: of the parameters, except that those below a module or of a name in ``float32`` are float32.

    Raises:
        CheckpointError: names or shapes of the module and of the file differ; counts and the first names are given. Or
            a value is not finite, or is not any more in ``dtype``.
    """
    own = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    missing, foreign = sorted(own.keys() - stored.keys()), sorted(stored.keys() - own.keys())
    wrong = [name for name in sorted(own.keys() & stored.keys()) if own[name] != stored[name].shape]
    if missing or foreign or wrong:
        raise CheckpointError(
            f"{source}: not the tensors of one whole model: {len(missing)} missing {missing[:3]}, {len(foreign)} "
            f"foreign {foreign[:3]}, {len(wrong)} of another shape {wrong[:3]}; fetch or convert it again"
        )
    ready = {}
    with ExitStack() as stack:
        stack.enter_context(_exact_products())
        open_files: dict[Path, Any] = {}

        def read(header: Header, name: str) -> Tensor:
            home = header.homes[name]
            if home not in open_files:
                open_files[home] = stack.enter_context(safe_open(home, framework="pt"))
            return open_files[home].get_tensor(name).to(device)

        for name in own:
            at, kind = stored[name], torch.float32 if float32 & set(name.split(".")) else dtype
            # Room for what stays before room for what does not: the heap would keep holes of the latter's size.
            ready[name] = torch.empty(own[name], dtype=kind, device=device)
            tensor = read(at.header, at.name)
            for header, down, up in at.adapters:
                tensor = merged(tensor, read(header, down), read(header, up))
            ready[name].copy_(tensor)
            if not ready[name].sum().isfinite():
                files = ", ".join(dict.fromkeys(str(h.path) for h in (at.header, *(h for h, _, _ in at.adapters))))
                raise CheckpointError(f"{files}: {name} has values that are not finite; fetch or convert it again")
    module.load_state_dict(ready, assign=True)
    module.requires_grad_(False).eval()


@contextmanager
def _exact_products() -> Iterator[None]:
    """float32 products in float32, though somebody may have allowed TensorFloat-32 or bfloat16 for speed."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)

"""Device and precision as the user chose them, or as suits the machine."""

import pytest

torch = pytest.importorskip("torch")

from dkt_ros.engines import EngineOptions  # noqa: E402
from dkt_ros.engines.devices import chosen  # noqa: E402


def test_a_cpu_computes_in_float32_unless_told_otherwise():
    assert chosen(EngineOptions(device="cpu")) == (torch.device("cpu"), torch.float32)
    assert chosen(EngineOptions(device="cpu", precision="bfloat16"))[1] == torch.bfloat16


def test_a_gpu_is_taken_where_there_is_one(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert chosen(EngineOptions()) == (torch.device("cuda"), torch.bfloat16)
    assert chosen(EngineOptions(device="cuda:1", precision="float32")) == (torch.device("cuda:1"), torch.float32)
    with pytest.raises(ValueError, match=r"device = cuda:2: torch sees 2 CUDA devices"):
        chosen(EngineOptions(device="cuda:2"))


def test_what_is_not_there_is_refused_by_name(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert chosen(EngineOptions()) == (torch.device("cpu"), torch.float32)
    with pytest.raises(ValueError, match=r"device = cuda: torch sees 0 CUDA devices"):
        chosen(EngineOptions(device="cuda"))
    with pytest.raises(ValueError, match=r"device = gpu: no such device"):
        chosen(EngineOptions(device="gpu"))
    with pytest.raises(ValueError, match=r"precision = int8: choose one of float32, bfloat16"):
        chosen(EngineOptions(device="cpu", precision="int8"))

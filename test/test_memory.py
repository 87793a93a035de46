"""The allocator keeps freed memory, and only that."""

import ctypes
import platform

from dkt_ros.memory import keep_freed_memory


def test_glibc_takes_the_settings():
    assert keep_freed_memory() is keep_freed_memory(shared=True) is (platform.libc_ver()[0] == "glibc")


def test_a_system_without_mallopt_is_left_alone(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    assert keep_freed_memory() is False

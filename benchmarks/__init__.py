"""Measurements, run as ``python -m benchmarks.NAME`` from a checkout. They print numbers and ratios; no test times
them."""

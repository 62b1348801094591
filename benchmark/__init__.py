"""Benchmarks of speed and quality, each run as `python -m benchmark.<name>`."""

"""Infrared temporal action detection: train, export, verify, benchmark, run."""

__version__ = "0.1.0"

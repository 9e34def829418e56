"""Seed in, Instance out: IEEE 30-bus transmission above 1..N IEEE 33-bus feeders."""

from generators.assemble import instance
from generators.options import Options

__all__ = ["Options", "instance"]

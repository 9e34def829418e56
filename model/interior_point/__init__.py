"""Conic programs of one pattern, four at a time; its compiler is imported with ``method`` and ``pattern``."""

# Programs side by side: what a processor of today adds and multiplies as one.
LANES = 4

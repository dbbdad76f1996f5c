"""Capacity of a running server: ``python -m server bench`` (docs/scaling.md)."""

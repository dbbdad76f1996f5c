"""The multi-process server around the pipelines."""

"""A strict stand-in for cuda-python."""

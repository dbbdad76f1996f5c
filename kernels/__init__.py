"""Shared memory and image kernels in C and Cython; knows no pipeline and no server."""

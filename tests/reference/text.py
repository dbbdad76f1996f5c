"""Slow twin of kernels/text.pyx: NumPy in PaddleX's steps."""

import numpy as np


def ctc_argmax(logits, indices, scores):
    """For logits without NaN; the kernel's own rule for NaN is tested apart."""
    indices[...] = logits.argmax(axis=-1)
    scores[...] = logits.max(axis=-1)


def ctc_collapse(indices, scores):
    lines = []
    for line, values in zip(indices, scores, strict=True):
        selection = np.ones(len(line), dtype=bool)
        selection[1:] = line[1:] != line[:-1]
        selection &= line != 0
        kept = values[selection]
        mean = np.mean(kept).tolist() if len(kept) else 0.0
        lines.append((line[selection], np.flatnonzero(selection).astype(np.int32), mean))
    return lines

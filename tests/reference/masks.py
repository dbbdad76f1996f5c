"""Slow twin of kernels/masks.pyx: run lengths in NumPy, their text as cocoapi's maskApi.c writes it."""

import numpy as np


def encode_mask(mask):
    stream = np.concatenate([[0], (np.asarray(mask) != 0).ravel(order="F"), [2]])
    ends = np.flatnonzero(np.diff(stream))
    runs = np.diff(ends, prepend=0).tolist()
    text = ""
    for place, run in enumerate(runs):
        number, more = run - runs[place - 2] if place > 2 else run, True
        while more:
            group = number & 0x1F
            number >>= 5
            more = number != -1 if group & 0x10 else number != 0
            text += chr(48 + group + (0x20 if more else 0))
    return text.encode()


def decode_mask(runs, columns, value=1):
    lengths, number, shift = [], 0, 0
    for char in runs:
        group = char - 48
        number |= (group & 0x1F) << shift
        shift += 5
        if group & 0x20:
            continue
        if group & 0x10:
            number -= 1 << shift
        lengths.append(number + (lengths[-2] if len(lengths) > 2 else 0))
        number = shift = 0
    values = np.arange(len(lengths)) % 2 * value
    columns[...] = np.repeat(values, lengths).reshape(columns.shape)

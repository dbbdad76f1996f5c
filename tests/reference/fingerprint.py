"""Slow twin of kernels/fingerprint.pyx: XXH64, written from its specification."""

P1, P2, P3, P4, P5 = (
    11400714785074694791,
    14029467366897019727,
    1609587929392839161,
    9650029242287828579,
    2870177450012600261,
)
MASK = 2**64 - 1


def rotate(value, by):
    return (value << by | value >> (64 - by)) & MASK


def mixed(lane, value):
    return rotate((lane + value * P2) & MASK, 31) * P1 & MASK


def xxh64(data: bytes, seed: int = 0) -> int:
    at = 0
    if len(data) >= 32:
        lanes = [(seed + P1 + P2) & MASK, (seed + P2) & MASK, seed, (seed - P1) & MASK]
        while len(data) - at >= 32:
            for lane in range(4):
                lanes[lane] = mixed(lanes[lane], int.from_bytes(data[at : at + 8], "little"))
                at += 8
        total = sum(rotate(lane, by) for lane, by in zip(lanes, (1, 7, 12, 18), strict=True)) & MASK
        for lane in lanes:
            total = ((total ^ mixed(0, lane)) * P1 + P4) & MASK
    else:
        total = (seed + P5) & MASK
    total = (total + len(data)) & MASK
    while len(data) - at >= 8:
        total ^= mixed(0, int.from_bytes(data[at : at + 8], "little"))
        total = (rotate(total, 27) * P1 + P4) & MASK
        at += 8
    if len(data) - at >= 4:
        total ^= int.from_bytes(data[at : at + 4], "little") * P1 & MASK
        total = (rotate(total, 23) * P2 + P3) & MASK
        at += 4
    for byte in data[at:]:
        total = rotate(total ^ (byte * P5 & MASK), 11) * P1 & MASK
    total = (total ^ total >> 33) * P2 & MASK
    total = (total ^ total >> 29) * P3 & MASK
    return total ^ total >> 32

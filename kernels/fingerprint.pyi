"""XXH64 of a buffer: a name for an input, far cheaper than a cryptographic hash."""

from typing_extensions import Buffer

def xxh64(data: Buffer, seed: int = 0) -> int:
    """64-bit XXH64 of any contiguous buffer of bytes. Releases the GIL.

    Little-endian machines only, like the rest of the server. Whoever wants two inputs with one name can
    construct them.
    """

"""Nesting depth of a JSON text, without building anything from it."""

def json_depth(text: bytes, stop: int) -> int:
    """Deepest nesting of ``{`` and ``[`` outside strings; looks no further once above ``stop``.

    Any bytes are accepted; of text that is not JSON the depth means nothing, but a JSON parser that
    reads it recurses no deeper. Releases the GIL; costs about a memchr over long strings.
    """

"""One look over a JSON text: how deep it is, and where its long strings of ASCII are."""

def json_outline(text: bytes, max_depth: int, long_text: int) -> tuple[int, list[tuple[int, int]]]:
    """Depth of nesting, and the places of long strings directly inside the outermost object or array.

    Any bytes are accepted. Of text that is not JSON the depth means nothing, but a parser that reads it
    recurses no deeper. Releases the GIL; costs about two vectorised passes over long strings.

    Args:
        text: the JSON.
        max_depth: looks no further once above it.
        long_text: only strings of at least so many bytes are reported.

    Returns:
        The deepest nesting of ``{`` and ``[`` outside strings, and (start, stop) of what is between the
        quotes of up to 16 strings at depth 1, keys included, that hold nothing outside ASCII, no control
        characters, and no escapes but valid ones of ASCII (PHP writes each ``/`` as ``\\/``).
    """

def json_string(text: bytes, start: int, stop: int) -> str:
    """The string between two quotes, its escapes undone. Releases the GIL, which JSON parsers do not.

    Args:
        text: the JSON.
        start, stop: a place that :func:`json_outline` gave.

    Raises:
        ValueError: outside the text, or not what :func:`json_outline` promises.
    """

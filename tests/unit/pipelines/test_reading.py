"""Steps that pipelines share: parts that run side by side. What they read is tested in test_ocr.py."""

import pytest

from pipelines.core.reading import side_by_side


def part(name, rounds):
    """Asks ``rounds`` times, each time for one call more, and notes what it got."""
    got = []
    for asked in range(1, rounds + 1):
        got.append((yield [f"{name}{asked}.{place}" for place in range(asked)]))
    return got


def drive(steps):
    """Answers every call with its name; returns the rounds and the result."""
    rounds, answer = [], None
    while True:
        try:
            calls = steps.send(answer)
        except StopIteration as end:
            return rounds, end.value
        rounds.append(calls)
        answer = [call.upper() for call in calls]


def test_parts_are_asked_together_and_get_their_own_answers():
    rounds, results = drive(side_by_side([part("a", 2), part("b", 0), part("c", 1)]))
    assert rounds == [["a1.0", "c1.0"], ["a2.0", "a2.1"]]
    assert results == [[["A1.0"], ["A2.0", "A2.1"]], [], [["C1.0"]]]


@pytest.mark.parametrize("parts", [[], [part("a", 0)]], ids=["none", "one that asks nothing"])
def test_without_calls_nothing_is_asked(parts):
    rounds, results = drive(side_by_side(parts))
    assert rounds == [] and len(results) == len(parts)


def test_a_failed_call_ends_all_parts():
    closed = []

    def watched():
        try:
            yield ["call"]
        finally:
            closed.append(True)

    steps = side_by_side([watched(), watched()])
    next(steps)
    with pytest.raises(ValueError, match="broken"):
        steps.throw(ValueError("broken"))
    del steps
    assert closed == [True, True]

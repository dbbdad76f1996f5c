"""A planted slow-down of 5 % is found, and a server is not slower than itself, for any seed of noise."""

import itertools

import msgspec
import numpy as np
import pytest

from pipelines.core.errors import ConfigError
from server.bench import words
from server.bench.blocks import Blocks, measure_in_turns, read_blocks, write_blocks
from server.bench.command import run_bench
from server.bench.compare import compare, interval, middle_mean, signed_rank_chance
from server.bench.knee import row_of
from server.bench.load import Answer, Run

PAIRS, REQUESTS, THRESHOLD = 20, 60, 0.03


def block(latencies_ms, failed=0, late_ms=0.0):
    """One block with these latencies, of requests that were due one a millisecond."""
    answers = [
        Answer(
            0, 0 if place < failed else 200, place / 1e3, place / 1e3 + ms / 1e3, (ms + late_ms) / 1e3, b""
        )
        for place, ms in enumerate(map(float, latencies_ms))
    ]
    return row_of(20.0, 3.0, Run(answers, 3.0), 1000.0)


def simulated(seed, slowdown, **b_has):
    """Both sides of a measurement on a busy machine.

    A latency is a service time of 30 ms with a tail of its own. The machine drifts by a tenth from the first
    pair to the last and is disturbed in one block of twenty, in which everything takes half as long again.
    """
    random = np.random.default_rng(seed)

    def measure(side, number):
        shape = random.lognormal(0.0, 0.15, REQUESTS)
        drift = 1 + 0.1 * number / PAIRS
        disturbed = 1.5 if random.random() < 1 / 20 else 1.0
        factor = 1 + slowdown if side == "b" else 1.0
        return block(30 * shape * drift * disturbed * factor, **(b_has if side == "b" else {}))

    a, b = measure_in_turns(measure, PAIRS)
    return Blocks("one", "http://a", {}, a), Blocks("one", "http://b", {}, b)


def test_five_percent_are_found_whatever_the_noise():
    found = [compare(*simulated(seed, 0.05), THRESHOLD) for seed in range(40)]
    assert sum(verdict.slower for verdict in found) >= 36  # 90 % of the runs, at the least
    assert np.mean([verdict.change for verdict in found]) == pytest.approx(0.05, abs=0.005)
    assert np.mean([verdict.low <= 0.05 <= verdict.high for verdict in found]) >= 0.85


def test_one_server_is_not_slower_than_itself():
    found = [compare(*simulated(seed, 0.0), THRESHOLD) for seed in range(40)]
    assert not any(verdict.slower or verdict.fails_more for verdict in found)
    assert np.mean([verdict.change for verdict in found]) == pytest.approx(0, abs=0.005)


def test_less_than_the_threshold_is_let_through():
    assert not any(compare(*simulated(seed, 0.01), THRESHOLD).slower for seed in range(20))


def test_a_faster_server_is_not_slower():
    assert not compare(*simulated(1, -0.2), THRESHOLD).slower


def test_noise_that_hides_the_threshold_is_said():
    random = np.random.default_rng(5)
    sides = [
        Blocks("one", "", {}, tuple(block(30 * random.lognormal(0, 0.15, 1)) for _ in range(8))) for _ in "ab"
    ]
    verdict = compare(*sides, THRESHOLD)
    assert (verdict.slower, verdict.undecided) == (False, True)
    assert "more blocks" in "\n".join(words.verdict_words(verdict, THRESHOLD))


def test_a_server_that_fails_is_worse_however_fast_it_is():
    a, b = simulated(1, -0.5, failed=6)
    verdict = compare(a, b, THRESHOLD)
    assert (verdict.slower, verdict.fails_more) == (False, True)
    assert (verdict.failed_a, verdict.failed_b) == (0, pytest.approx(0.1))


def test_pairs_with_a_late_generator_are_left_out():
    a, b = simulated(1, 0.0)
    late = block([30.0] * REQUESTS, late_ms=900.0)
    b = msgspec.structs.replace(b, rows=(late, late, *b.rows[2:]))
    verdict = compare(a, b, THRESHOLD)
    assert (verdict.pairs, verdict.dropped, verdict.slower) == (PAIRS - 2, 2, False)
    with pytest.raises(ConfigError, match=r"5 pairs of blocks count \(15 have a late generator"):
        compare(a, msgspec.structs.replace(b, rows=(late,) * 15 + b.rows[15:]), THRESHOLD)


def test_other_measurements_are_refused():
    a, b = simulated(1, 0.0)
    with pytest.raises(ConfigError, match="not of one measurement in turns"):
        compare(a, msgspec.structs.replace(b, session="another"), THRESHOLD)


def test_turns_alternate_who_is_first():
    seen = []
    measure_in_turns(lambda side, number: seen.append((side, number)), 3)
    assert seen == [("a", 0), ("b", 0), ("b", 1), ("a", 1), ("a", 2), ("b", 2)]


def test_signed_ranks_are_those_of_all_signs():
    values = np.array([1.2, -0.3, 2.0, 0.7, -0.7, 3.1, 0.1])  # with a tie
    ranks = np.array([5, 2, 6, 3.5, 3.5, 7, 1])
    signs = np.array(list(itertools.product([0, 1], repeat=7)))
    assert signed_rank_chance(values) == pytest.approx(np.mean(signs @ ranks >= ranks[values > 0].sum()))


def test_signed_ranks_of_many_pairs_are_near_the_exact_ones():
    values = np.random.default_rng(3).normal(0.2, 1, 51)
    fifty, more = signed_rank_chance(values[:50]), signed_rank_chance(values)
    assert more == pytest.approx(fifty, abs=0.05)
    assert signed_rank_chance(-values) == pytest.approx(1 - more, abs=0.01)
    assert signed_rank_chance([0.0, 0.0]) == 1.0


def test_the_interval_covers_and_does_not_mind_a_pause():
    values = np.random.default_rng(4).normal(0.05, 0.02, 20)
    low, high = interval(values)
    assert low < middle_mean(values) < high
    values[3] = 10.0
    assert middle_mean(values) == pytest.approx(0.05, abs=0.02)


@pytest.mark.parametrize(("slowdown", "code"), [(0.05, 1), (0.0, 0)])
def test_the_command_ends_with_the_verdict(tmp_path, capsys, slowdown, code):
    files = [tmp_path / "a.json", tmp_path / "b.json"]
    for path, blocks in zip(files, simulated(7, slowdown), strict=True):
        write_blocks(path, blocks)
        assert read_blocks(path) == blocks
    assert run_bench(["compare", *map(str, files), "--threshold", "3%"]) == code
    assert f"b is {'' if code else 'not '}slower by" in capsys.readouterr().out


def test_what_is_no_such_file_is_one_line(tmp_path):
    (tmp_path / "a.json").write_text('{"kind": "capacity"}')
    with pytest.raises(ConfigError, match="no file of python -m server bench pair"):
        read_blocks(tmp_path / "a.json")
    with pytest.raises(ConfigError, match="cannot read"):
        read_blocks(tmp_path / "none.json")

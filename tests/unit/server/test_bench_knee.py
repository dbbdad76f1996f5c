"""The knee that is found is that of a queue whose knee is known; a step says of itself what happened."""

import pytest

from server.bench.knee import Search, find_knee, growth, row_of
from server.bench.load import Answer, Run, arrivals

SERVICE_S, BUDGET_MS = 0.02, 200.0


class Queue:
    """A server that takes requests one by one, 20 ms each, on a clock of its own: 50 a second at most."""

    def __init__(self, late_s=0.0, late_above=1e9, fails_above=1e9):
        self.now_s, self.late_s, self.late_above, self.fails_above = 0.0, late_s, late_above, fails_above
        self.asked = []

    def measure(self, rate, seconds):
        self.asked.append(rate)
        free, answers = 0.0, []
        for number, due in enumerate(arrivals(rate, seed=len(self.asked))):
            if due > seconds:
                break
            sent = due + (self.late_s if rate > self.late_above else 0.0)
            free = max(free, sent) + SERVICE_S
            status = 503 if rate > self.fails_above and number % 10 == 0 else 200
            answers.append(Answer(0, status, sent, free, free - due, b""))
        self.now_s += max(seconds, free)
        return row_of(rate, seconds, Run(answers, free), BUDGET_MS)

    def knee(self, seconds=2000.0, step_s=60.0, start=5.0):
        return find_knee(self.measure, Search(start, seconds, step_s), lambda: self.now_s)


def test_the_knee_of_a_queue_lies_just_below_its_capacity():
    """Waiting above 200 ms in less than 1 % of M/D/1: below 0.80 of the capacity by the tail of its wait."""
    knee = Queue().knee()
    assert 35 < knee.rate < 48
    assert knee.above / knee.rate <= 1.05
    assert knee.limit in {"late", "grows"}
    assert knee.row.verdict == "kept"
    assert knee.row.p99_ms <= BUDGET_MS


def test_a_first_rate_that_is_too_high_is_left_downwards():
    knee = Queue().knee(start=400.0)
    assert knee.rows[0].verdict == "late"
    assert 35 < knee.rate < 48


def test_the_search_ends_in_time():
    queue = Queue()
    knee = queue.knee(seconds=130.0)
    assert len(queue.asked) == len(knee.rows) == 2
    assert (knee.rate, knee.above, knee.limit) == (7.5, None, "time")


def test_without_time_for_one_step_nothing_is_said():
    knee = Queue().knee(seconds=10.0)
    assert (knee.rate, knee.row, knee.rows) == (None, None, ())


def test_a_late_generator_bounds_the_search_and_is_named():
    knee = Queue(late_s=0.05, late_above=20.0).knee()
    assert 15 < knee.rate <= 20
    assert knee.limit == "generator late"
    assert all(row.verdict == "generator late" for row in knee.rows if row.rate > 20)


def test_refusals_are_no_goodput():
    knee = Queue(fails_above=20.0).knee()
    assert 15 < knee.rate <= 20
    (bad, *_) = (row for row in knee.rows if row.rate > 20)
    assert bad.verdict == "late"
    assert bad.failed == pytest.approx(0.1 * bad.sent, abs=1)
    assert bad.goodput == pytest.approx(0.9 * bad.offered, rel=0.02)


@pytest.mark.parametrize("excess", [0.0, 0.1, 0.3])
def test_growth_is_the_share_that_a_server_is_short_of(excess):
    """Ten seconds at ``1 + excess`` of the capacity: each answer comes later than the one before."""
    latencies = [20 + 1e3 * 10 * excess * place / 1000 for place in range(1000)]
    assert growth(latencies, 10.0) == pytest.approx(excess, abs=0.001)


def test_a_queue_that_grows_within_the_budget_is_not_kept():
    """Half a second at a fifth above the capacity: 200 ms are not reached yet."""
    latencies = [20 + 1e3 * 0.5 * 0.2 * place / 30 for place in range(30)]
    answers = [
        Answer(0, 200, place / 60, place / 60 + ms / 1e3, ms / 1e3, b"") for place, ms in enumerate(latencies)
    ]
    row = row_of(60.0, 0.5, Run(answers, 0.6), BUDGET_MS)
    assert row.good == row.sent
    assert row.verdict == "grows"


def test_a_row_counts_what_happened():
    answers = [
        Answer(0, 200, start_s=1.0, end_s=1.1, latency_s=0.101, body=b""),
        Answer(0, 200, start_s=1.5, end_s=1.9, latency_s=0.4, body=b""),
        Answer(0, 0, start_s=1.6, end_s=1.7, latency_s=0.1, body=b""),
    ]
    row = row_of(1.5, 2.0, Run(answers, 2.0), BUDGET_MS)
    assert (row.sent, row.failed, row.good) == (3, 1, 1)
    assert (row.offered, row.goodput) == (1.5, 0.5)
    assert row.p99_ms == pytest.approx(400)
    assert row.late_p99_ms == pytest.approx(1.0)
    assert row.latencies_ms == (101.0, 400.0)

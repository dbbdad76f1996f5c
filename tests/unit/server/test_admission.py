import pytest

from pipelines.core.errors import BadRequest, DeadlinePassed, NotReady, Overloaded
from server.admission import Admission, is_batch, timeout_of
from server.config import Limits


class Door:
    """An admission whose queue and clock the test sets."""

    def __init__(self, devices=2, **limits):
        self.queued, self.now, self.scale, self.batch_queued = 0.0, 1_000, 1.0, 0.0
        self.admission = Admission(
            Limits(**limits), self.waits, devices, lambda: self.now, lambda: self.scale
        )

    def check_empty(self):
        assert (self.admission.inside, self.admission.held_bytes) == (0, 0)
        assert self.admission.unpublished_ms == {False: 0.0, True: 0.0}

    def waits(self, batch):
        return self.batch_queued if batch else self.queued


def test_full_queue_is_refused_at_the_door():
    door = Door(max_queue_ms=500)
    door.queued = 500
    door.admission.admit().__exit__(None, None, None)
    door.queued = 500.1
    with pytest.raises(Overloaded) as refused:
        door.admission.admit()
    assert refused.value.retry_after_s == 1
    assert door.admission.inside == 0


def test_what_cannot_be_in_time_is_refused_at_once():
    door = Door(max_queue_ms=30_000)
    door.queued = 2_000
    with pytest.raises(Overloaded):
        door.admission.admit(1_999)
    with door.admission.admit(2_000) as permit:
        permit.cost(0)
        door.now += 1_000_000  # its body took a millisecond
        with pytest.raises(Overloaded):
            permit.cost(1)


def test_what_takes_longer_than_its_deadline_is_refused_although_nothing_waits():
    door = Door(devices=2, request_timeout_ms=60_000)
    with door.admission.admit() as permit:
        permit.cost(60_000)
    with door.admission.admit() as permit:
        permit.cost(119_000, pages=2)  # both devices work on them
    with door.admission.admit() as permit:
        door.scale = 5.0
        with pytest.raises(
            DeadlinePassed, match="needs about 65 s on this server, and its deadline is in 60 s"
        ):
            permit.cost(13_000)
        permit.cost(11_999)


def test_what_is_not_handed_over_yet_counts_at_the_devices_speed():
    door = Door(devices=1, max_queue_ms=1_000)
    first, second = door.admission.admit(), door.admission.admit()
    door.scale = 3.0
    first.cost(400)
    with pytest.raises(Overloaded):
        second.cost(1)


def test_retry_after_grows_with_the_queue():
    door = Door(max_queue_ms=500)
    door.queued = 9_000
    with pytest.raises(Overloaded) as refused:
        door.admission.admit()
    assert refused.value.retry_after_s == 5


def test_a_latency_budget_is_the_deadline_and_leaves_room_for_the_request_itself():
    door = Door(devices=1, latency_budget_ms=200)
    permit = door.admission.admit()
    assert permit.deadline_ns == 1_000 + 200_000_000
    assert door.admission.admit(50).deadline_ns == 1_000 + 50_000_000
    door.queued = 100  # of the 180 ms that may be expected
    permit.cost(80)
    permit.published(80)
    with pytest.raises(Overloaded):
        permit.cost(81)
    door.queued = 181
    with pytest.raises(Overloaded):
        door.admission.admit()


def test_what_would_be_refused_once_its_cost_is_known_is_refused_before_its_body_is_read():
    """By the least that requests of its operation have cost lately: 180 ms may be expected."""
    door = Door(devices=1, latency_budget_ms=200)

    def costs(ms, times=1):
        door.queued = 0
        for _ in range(times):
            with door.admission.admit(operation="/a") as permit:
                permit.cost(ms)
        door.queued = 101

    costs(80)
    with pytest.raises(Overloaded):
        door.admission.admit(operation="/a")
    door.admission.admit(operation="/b").__exit__(None, None, None)
    costs(1)
    door.admission.admit(operation="/a").__exit__(None, None, None)
    costs(80, times=46)  # 1.1 ** 46 is 80
    with pytest.raises(Overloaded):
        door.admission.admit(operation="/a")
    door.queued = 1
    with door.admission.admit(30, operation="/a") as never, pytest.raises(DeadlinePassed):
        never.cost(80)  # it does not fit its own deadline: to come again would not help


@pytest.mark.parametrize("kind", ["errand", "batch"])
def test_a_latency_budget_leaves_errands_and_low_priority_alone(kind):
    door = Door(latency_budget_ms=200, request_timeout_ms=60_000)
    assert door.admission.admit(**{kind: True}).deadline_ns == 1_000 + 60_000_000_000


def test_low_priority_has_a_queue_and_half_of_the_memory_of_its_own():
    door = Door(devices=1, max_queue_ms=500, max_decoded_bytes=100)
    door.batch_queued = 501
    with pytest.raises(Overloaded):
        door.admission.admit(batch=True)
    door.batch_queued = 500
    large, second = door.admission.admit(batch=True), door.admission.admit(batch=True)
    door.batch_queued = 200
    large.cost(400)
    door.queued = 500
    urgent = door.admission.admit()
    urgent.cost(1)  # what is of low priority is not before it
    with pytest.raises(Overloaded):
        second.cost(1)
    large.hold(60)  # alone
    with pytest.raises(Overloaded):
        second.hold(1)
    urgent.hold(40)


@pytest.mark.parametrize(("header", "batch"), [(None, False), ("interactive", False), ("batch", True)])
def test_priorities(header, batch):
    assert is_batch(header) is batch


@pytest.mark.parametrize("header", ["", "high", "Batch", "batch "])
def test_what_is_no_priority(header):
    with pytest.raises(BadRequest, match="interactive or batch"):
        is_batch(header)


def test_no_device_is_not_ready():
    def nobody(_batch):
        raise NotReady

    with pytest.raises(NotReady):
        Admission(Limits(), nobody, 1, lambda: 0).admit()


def test_requests_that_are_not_handed_over_yet_count():
    """Many come through the door while the queue is empty, and announce their cost after their bodies."""
    door = Door(devices=2, max_queue_ms=100)
    first, second, third = (door.admission.admit() for _ in range(3))
    first.cost(150)
    second.cost(60)  # 150 ms on two devices is no more than 100
    with pytest.raises(Overloaded):
        third.cost(1)
    with pytest.raises(Overloaded):
        door.admission.admit()
    first.published(150)
    third.cost(1)


def test_leaving_gives_everything_back():
    door = Door()
    with door.admission.admit() as permit:
        permit.hold(1000)
        permit.cost(0.1)
        permit.published(0.03)
        assert door.admission.held_bytes == 1000
        assert door.admission.inside == 1
    door.check_empty()


def test_a_failed_request_gives_everything_back():
    door = Door()
    with pytest.raises(ZeroDivisionError), door.admission.admit() as permit:
        permit.hold(7)
        permit.cost(5)
        raise ZeroDivisionError
    door.check_empty()


def test_held_bytes_are_bounded():
    door = Door(max_decoded_bytes=100)
    with door.admission.admit() as first, door.admission.admit() as second:
        first.hold(60)
        with pytest.raises(Overloaded):
            second.hold(41)
        second.hold(40)
        first.free(1)
        second.hold(1)


def test_what_never_fits_is_the_clients_fault():
    door = Door(max_decoded_bytes=100)
    with door.admission.admit() as permit:
        permit.hold(60)
        with pytest.raises(BadRequest, match="needs 101 bytes; a worker holds at most 100"):
            permit.hold(41)
        permit.hold(40)


@pytest.mark.parametrize(
    ("asked", "given"),
    [
        pytest.param(None, 60_000, id="default"),
        pytest.param(5, 5, id="lower"),
        pytest.param(90_000, 60_000, id="higher"),
    ],
)
def test_a_client_can_only_lower_the_deadline(asked, given):
    door = Door(request_timeout_ms=60_000)
    assert door.admission.admit(asked).deadline_ns == 1_000 + given * 1_000_000


def test_deadline_is_checked():
    door = Door(request_timeout_ms=1)
    permit = door.admission.admit()
    permit.check_deadline()
    door.now += 1_000_000
    with pytest.raises(DeadlinePassed):
        permit.check_deadline()


@pytest.mark.parametrize("header", ["", "0", "-1", "1.5", "abc", "1e3", " 5", "٣", "9" * 13])
def test_a_timeout_that_is_no_number_is_refused(header):
    with pytest.raises(BadRequest, match="X-Request-Timeout-Ms"):
        timeout_of(header)


def test_timeout_header():
    assert timeout_of(None) is None
    assert timeout_of("250") == 250


def test_repr_is_a_status_line():
    door = Door()
    with door.admission.admit() as permit:
        permit.hold(3 << 20)
        permit.cost(250)
        assert repr(door.admission) == "<Admission: 1 inside, 3 MiB held, 250 ms to hand over>"

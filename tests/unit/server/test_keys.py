"""API keys: the file, its faults, revoking, the command that makes one, and what the guard lets in."""

import hashlib
import mmap
import os
import stat

import pytest

from kernels.quota import Quota, quota_bytes
from pipelines.core.errors import ConfigError, RateLimited, Unauthorized
from server.access import keys_command
from server.guard import Guard
from server.keys import MAX_KEYS, KeyFile, KeyRing, append_key, new_key, parse_keys

DIGEST = hashlib.sha256(b"secret").hexdigest()
SECOND = 1_000_000_000


def test_a_file_of_keys():
    keys = parse_keys(
        f"# ours\n\nann:{DIGEST}\n bob:{'0' * 64}:rate=2.5:concurrent=3 \nc:{'1' * 64}:rate=9:burst=1\n"
    )
    assert [(key.name, key.rate, key.burst, key.concurrent) for key in keys] == [
        ("ann", 0, 1, 0), ("bob", 2.5, 2, 3), ("c", 9, 1, 0),
    ]  # fmt: skip
    assert keys[0].digest == hashlib.sha256(b"secret").digest()
    assert parse_keys("\n".join(key.line() for key in keys)) == keys


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("secret", "line 1 of the API keys: behind the name"),
        ("ann:secret", "line 1 of the API keys: behind the name"),
        (f"\nan n:{DIGEST}", "line 2 of the API keys: the name"),
        (f"ann:{DIGEST}:rate=0", "rate= is a number above 0"),
        (f"ann:{DIGEST}:rate=nan", "rate= is a number above 0"),
        (f"ann:{DIGEST}:rate=1e3", "rate= is a number above 0"),
        (f"ann:{DIGEST}:rate=\u0663", "rate= is a number above 0"),
        (f"ann:{DIGEST}:concurrent=-1", "concurrent= is a number above 0"),
        (f"ann:{DIGEST}:concurrent=1.5", "concurrent= is a number above 0"),
        (f"ann:{DIGEST}:burst=3", "burst= needs rate="),
        (f"ann:{DIGEST}:rate=1:rate=2", "at most once"),
        (f"ann:{DIGEST}:color=1", "what follows is"),
        (f"ann:{DIGEST}\nann:{'0' * 64}", "equal names"),
        (f"ann:{DIGEST}\nbob:{DIGEST}", "equal digests"),
        ("\n".join(f"k{i}:{i:064x}" for i in range(MAX_KEYS + 1)), f"more than {MAX_KEYS}"),
    ],
)
def test_faults_name_the_line_and_show_nothing_of_it(text, message):
    with pytest.raises(ConfigError, match=message) as caught:
        parse_keys(text)
    assert "secret" not in str(caught.value)


def test_only_the_key_itself_is_found():
    text, key = new_key("ann")
    ring = KeyRing([key, new_key("bob")[1]])
    assert ring.find(text) is key
    for other in ("", text[:-1], text + "=", text.swapcase(), "\udcff", key.digest.hex()):
        assert ring.find(other) is None


def test_revoked_by_a_change_of_the_file_and_kept_when_the_file_is_bad(tmp_path, caplog):
    path = tmp_path / "keys"
    (ann, line_a), (bob, line_b) = new_key("ann"), new_key("bob")
    append_key(path, line_a)
    append_key(path, line_b)
    keys = KeyFile(str(path))
    assert keys.find(ann) and keys.find(bob)
    path.write_text(line_b.line())
    keys.refresh()
    assert keys.find(ann) is None
    for content in ("nonsense", line_a.line() + "\n" + line_a.line()):
        path.write_text(content)
        keys.refresh()
        assert keys.find(bob), "the last good file is in force"
    path.unlink()
    keys.refresh()
    assert keys.find(bob)
    assert sum(record.levelname == "ERROR" for record in caplog.records) == 3
    assert not any(text in caplog.text for text in (ann, bob, line_a.digest.hex()))
    path.write_text("")
    keys.refresh()
    assert keys.find(bob) is None


def test_a_file_that_everybody_can_write_is_refused(tmp_path):
    path = tmp_path / "keys"
    path.write_text("")
    path.chmod(0o646)
    with pytest.raises(ConfigError, match="can be written by everybody"):
        KeyFile(str(path))


@pytest.mark.parametrize("content", [None, b"\xff", b"#" * (2 << 20)])
def test_a_file_that_cannot_be_read(tmp_path, content):
    path = tmp_path / "keys"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=str(path)):
        KeyFile(str(path))


def test_the_command_makes_a_key_that_works(tmp_path, capsys):
    path = tmp_path / "keys"
    argv = ["--api_keys", str(path), "--rate", "2", "--concurrent", "5"]
    assert keys_command(["new", "ann", *argv], "prog") == 0
    text = capsys.readouterr().out.strip()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert text not in path.read_text()
    assert KeyFile(str(path)).find(text)._replace(digest=b"") == ("ann", b"", 2, 2, 5)
    with pytest.raises(ConfigError, match="equal names"):
        keys_command(["new", "ann", "--api_keys", str(path)], "prog")
    assert keys_command(["new", "bob"], "prog") == 0
    out, err = capsys.readouterr()
    assert parse_keys(err.splitlines()[1])[0].digest == hashlib.sha256(out.strip().encode()).digest()


class Clock:
    now = 7 * SECOND

    def __call__(self):
        return self.now


@pytest.fixture
def world(tmp_path):
    """Two guards of two workers on one file and one memory."""
    memory = mmap.mmap(-1, quota_bytes(16, 2))
    path, clock = tmp_path / "keys", Clock()
    texts = {}
    for name, limits in {
        "free": {},
        "slow": {"rate": 0.5},
        "narrow": {"rate": 9, "burst": 9, "concurrent": 2},
    }.items():
        texts[name], key = new_key(name, **limits)
        append_key(path, key)
    guards = [Guard(KeyFile(str(path)), Quota(memory, 16, 2, own), clock) for own in range(2)]
    return guards, texts, clock


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": ""},
        {"authorization": "Bearer"},
        {"authorization": "Bearer nonsense"},
        {"authorization": "Basic {key}"},
        {"authorization": "{key}"},
        {"x-api-key": ""},
        {"x-api-key": "Bearer {key}"},
        {"authorization": "Bearer nonsense", "x-api-key": "{key}"},
    ],
)
def test_nobody_comes_in_without_a_key(world, headers):
    (guard, _), texts, _ = world
    with pytest.raises(Unauthorized):
        guard.admit({name: value.format(key=texts["free"]) for name, value in headers.items()})


@pytest.mark.parametrize("header", ["authorization: Bearer {}", "authorization: bearer  {}", "x-api-key: {}"])
def test_both_headers_carry_a_key(world, header):
    (guard, _), texts, _ = world
    name, _, value = header.format(texts["free"]).partition(": ")
    with guard.admit({name: value}):
        assert guard.identify({name: value}).name == "free"


def test_a_rate_is_shared_by_the_workers(world):
    guards, texts, clock = world
    headers = {"x-api-key": texts["slow"]}
    guards[0].admit(headers)
    with pytest.raises(RateLimited, match=r"0.5 times a second") as caught:
        guards[1].admit(headers)
    assert caught.value.retry_after_s == 2
    clock.now += 2 * SECOND
    guards[1].admit(headers)


def test_the_number_at_once_is_shared_and_costs_no_rate_when_refused(world):
    guards, texts, _ = world
    headers = {"x-api-key": texts["narrow"]}
    for _ in range(2):
        with guards[0].admit(headers), guards[1].admit(headers):
            for guard in guards * 20:
                with pytest.raises(RateLimited, match="2 requests at once"):
                    guard.admit(headers)
    with guards[0].admit(headers), guards[0].admit(headers):
        guards[1].refresh([0])  # worker 0 is dead
        with guards[1].admit(headers):
            pass


def test_who_is_refused_by_rate_is_not_inside(world):
    (guard, _), texts, _ = world
    headers = {"x-api-key": texts["narrow"]}
    for _ in range(9):
        with guard.admit(headers):
            pass
    for _ in range(5):
        with pytest.raises(RateLimited, match="9 times a second"):
            guard.admit(headers)


def test_more_names_than_places_are_refused_loudly(tmp_path):
    memory = mmap.mmap(-1, quota_bytes(1, 1))
    texts = []
    for name in ("a", "b"):
        text, key = new_key(name, rate=5)
        append_key(tmp_path / "keys", key)
        texts.append(text)
    guard = Guard(KeyFile(str(tmp_path / "keys")), Quota(memory, 1, 1, 0), Clock())
    guard.admit({"x-api-key": texts[0]})
    with pytest.raises(RateLimited, match="has to be started again"):
        guard.admit({"x-api-key": texts[1]})


def test_the_memory_of_the_guard_is_one_for_all(no_leaks):
    from server.guard import open_quota, quota_memfd

    fd = quota_memfd(2)
    try:
        one, two = open_quota(fd, 2, 0), open_quota(fd, 2, 1)
        place = one.place(9)
        assert one.enter(place, 1)
        assert not two.enter(two.place(9), 1)
        open_quota(fd, 2, 0)  # a successor in the lane
        assert two.enter(place, 1)
    finally:
        os.close(fd)

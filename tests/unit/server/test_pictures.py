"""Pictures on their way to a store, and the folder that is one."""

import asyncio
import json
import logging
import threading
import uuid

import pytest

from pipelines.core.config import FileStorage
from pipelines.core.errors import DeadlinePassed, Overloaded, Upstream, UpstreamTimeout
from server import pictures
from server.encode import success
from server.pictures import THREADS, Pictures, pictures_of
from server.storage import Folder, reason


def result(pages=1):
    """Of a document, with a picture beside each page's result and one in an object there."""
    rows = [
        {
            "prunedResult": {"texts": ["a"]},
            "outputImages": {"layout": b"L%d" % page},
            "inputImage": b"I%d" % page,
        }
        for page in range(pages)
    ]
    return {"rows": rows, "visualInfo": [{"text": "b"}], "dataInfo": {"numPages": pages}}


class Shelf:
    """A store in memory."""

    def __init__(self, address="http://shelf/"):
        self.found, self._address = {}, address

    def put(self, key, content):
        self.found[key] = content
        return self._address and self._address + key


class Stuck:
    """A store that takes nothing until it is let."""

    def __init__(self):
        self.free, self.inside = threading.Event(), 0

    def put(self, key, content):
        self.inside += 1
        self.free.wait(20)
        return "late"


def kept(store, answer, first=0, seconds=5.0):
    """What ``keep`` makes of an answer."""

    async def main():
        holder = Pictures(store, "OCR")
        try:
            await holder.keep(answer, "id", first, seconds)
        finally:
            holder.shutdown(wait=True, cancel_futures=True)
        return answer

    return asyncio.run(main())


def test_addresses_take_the_places_of_pictures():
    shelf = Shelf()
    answer = kept(shelf, result(2), first=3)
    assert shelf.found == {
        "id/layout_3.jpg": b"L0",
        "id/inputImage_3.jpg": b"I0",
        "id/layout_4.jpg": b"L1",
        "id/inputImage_4.jpg": b"I1",
    }
    assert answer["rows"][1] == {
        "prunedResult": {"texts": ["a"]},
        "outputImages": {"layout": "http://shelf/id/layout_4.jpg"},
        "inputImage": "http://shelf/id/inputImage_4.jpg",
    }
    assert not list(pictures_of(answer))


def test_pictures_stay_where_no_addresses_are_wanted():
    shelf = Shelf("")
    assert kept(shelf, result()) == result() and len(shelf.found) == 2
    assert json.loads(success("v3", "id", result()))["result"]["rows"][0]["inputImage"] == "STA="


def test_a_store_that_fails_is_a_fault_that_says_nothing_of_it_and_is_logged_once(caplog):
    class Broken:
        works = False

        def put(self, key, content):
            if not self.works:
                raise OSError(28, "No space left on device", "/secret/place")
            return ""

    async def main():
        store = Broken()
        holder = Pictures(store, "OCR")
        for _ in range(2):
            with pytest.raises(Upstream, match=r"^The storage of pictures failed$") as fault:
                await holder.keep(result(), "id", 0, 5.0)
            assert (fault.value.status, fault.value.__cause__) == (502, None)
        store.works = True
        await holder.keep(result(), "id", 0, 5.0)
        holder.shutdown(wait=True, cancel_futures=True)

    caplog.set_level(logging.INFO)
    asyncio.run(main())
    assert [record.getMessage() for record in caplog.records if record.name == "server.pictures"] == [
        "OCR: pictures cannot be stored: OSError: No space left on device",
        "OCR stores pictures again",
    ]


@pytest.mark.parametrize(
    ("limit", "seconds", "fault"), [(0.02, 5.0, UpstreamTimeout), (5.0, 0.02, DeadlinePassed)]
)
def test_a_store_that_does_not_answer_costs_a_bounded_time_and_its_places_come_back(
    monkeypatch, limit, seconds, fault
):
    monkeypatch.setattr(pictures, "LIMIT_S", limit)
    monkeypatch.setattr(pictures, "_EACH_S", 0.0)

    async def main():
        store = Stuck()
        holder = Pictures(store, "OCR")
        with pytest.raises(fault):
            await holder.keep(result(THREADS), "id", 0, seconds)
        assert store.inside <= THREADS  # of twice as many pictures
        store.free.set()
        answer = result(THREADS)
        monkeypatch.setattr(pictures, "LIMIT_S", 5.0)
        await holder.keep(answer, "id", 0, 5.0)
        assert answer["rows"][0]["inputImage"] == "late"
        holder.shutdown(wait=True, cancel_futures=True)

    asyncio.run(main())


def test_only_so_many_pictures_wait_and_more_are_refused_at_once(monkeypatch):
    monkeypatch.setattr(pictures, "MAX_WAITING", 4)

    async def main():
        store = Stuck()
        holder = Pictures(store, "OCR")
        first = asyncio.ensure_future(holder.keep(result(3), "id", 0, 5.0))  # more than all, and alone
        await asyncio.sleep(0)
        with pytest.raises(Overloaded) as fault:
            await holder.keep(result(), "id", 0, 5.0)
        assert (fault.value.status, fault.value.retry_after_s) == (503, 2)
        store.free.set()
        await first
        await holder.keep(result(), "id", 0, 5.0)
        holder.shutdown(wait=True, cancel_futures=True)

    asyncio.run(main())


def test_a_client_that_goes_leaves_nothing_behind():
    async def main():
        store = Stuck()
        holder = Pictures(store, "OCR")
        request = asyncio.ensure_future(holder.keep(result(THREADS), "id", 0, 5.0))
        while store.inside < THREADS:
            await asyncio.sleep(0.001)
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        store.free.set()
        await holder.keep(result(), "id", 0, 5.0)
        assert store.inside == THREADS + 2  # pictures that had no thread yet were dropped
        holder.shutdown(wait=True, cancel_futures=True)

    asyncio.run(main())


def test_a_folder_holds_whole_files_and_knows_their_addresses(tmp_path):
    name = str(uuid.uuid4())
    folder = Folder(FileStorage(str(tmp_path / "new"), "http://h/p"), urls=True)
    assert folder.put(f"{name}/ocrImage_0.jpg", b"jpeg") == f"http://h/p/{name}/ocrImage_0.jpg"
    assert [path.name for path in (tmp_path / "new" / name).iterdir()] == ["ocrImage_0.jpg"]
    assert (tmp_path / "new" / name / "ocrImage_0.jpg").read_bytes() == b"jpeg"
    assert Folder(FileStorage(str(tmp_path), "http://h/p"), urls=False).put("a/b.jpg", b"") == ""


def test_a_folder_that_cannot_be_written_leaves_no_part(tmp_path):
    (tmp_path / "id" / "a.jpg").mkdir(parents=True)  # a folder where a file should be
    with pytest.raises(OSError, match="directory"):
        Folder(FileStorage(str(tmp_path)), urls=False).put("id/a.jpg", b"jpeg")
    assert [path.name for path in (tmp_path / "id").iterdir()] == ["a.jpg"]


def test_reasons_name_classes_and_codes_only():
    class ClientError(Exception):
        response = {"Error": {"Code": "NoSuchBucket", "Message": "bucket hush of key hush"}}

    assert reason(ClientError("hush")) == "ClientError: NoSuchBucket"
    assert reason(ValueError("hush")) == "ValueError"

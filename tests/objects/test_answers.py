"""Bad answers of each service, from real servers behind a proxy: none is believed, and what passes is outlasted."""

import dataclasses

import pytest

from mountd.config import MountSettings
from mountd.errors import Unavailable, VersionChanged
from mountd.objects.interface import ABSENT, Key
from tests.proxy import Answer, answered, changed, cut, lost, unheard

SETTINGS = MountSettings.merge({"request_deadline": 20, "retry_budget": 10})
IMPATIENT = MountSettings.merge({"request_deadline": 20, "retry_budget": 0.1})
A, B = Key("a"), Key("b")


def anything(request):
    return True


@pytest.mark.parametrize("word", ["throttled", "internal"])
async def test_a_request_that_fails_for_a_passing_reason_is_sent_again(service, word):
    """Each kind of request backs off and succeeds when the service is busy or has failed. [busy-outlasted]"""
    proxy, failing = service.proxy, answered(service.words[word])
    async with service.open(SETTINGS) as opened:
        store = opened.store
        rules = [proxy.on(anything, failing, times=2)]
        await store.check()
        rules.append(proxy.on(anything, failing, times=2))
        made = await store.put(A, b"some bytes", expect=ABSENT)
        rules.append(proxy.on(anything, failing, times=1))
        assert (await store.stat(A)).version == made.version
        rules.append(proxy.on(anything, failing, times=1))
        assert (await store.read_range(A, 5, 10, version=made.version)).data == b"bytes"
        rules.append(proxy.on(anything, failing, times=1))
        assert [info.key for info in (await store.list_page(Key(""))).objects] == [A]
        rules.append(proxy.on(anything, failing, times=1))
        await store.copy(made, B, expect=ABSENT)
        rules.append(proxy.on(anything, failing, times=1))
        await store.delete(A, expect=made.version)
        upload = await store.open_upload(A)
        rules.append(proxy.on(anything, failing, times=1))
        await upload.put_part(1, 0, b"part")
        rules.append(proxy.on(anything, failing, times=1))
        await upload.complete([1], expect=ABSENT)
        assert (await store.read_range(A, 0, 10)).data == b"part"
        assert all(rule.left == 0 for rule in rules)


@pytest.mark.parametrize("word", ["throttled", "internal"])
async def test_a_request_that_goes_on_failing_fails_in_time(service, word):
    """When the budget for repeats is used up; the error says what the service said."""
    async with service.open(IMPATIENT) as opened:
        service.proxy.on(anything, answered(service.words[word]))
        with pytest.raises(Unavailable) as failed:
            await opened.store.stat(A)
        assert str(failed.value)
        with pytest.raises(Unavailable):
            await opened.store.put(A, b"1")


async def test_a_service_that_asks_for_a_pause_gets_it(service):
    """What Retry-After says in seconds is kept, whichever client has received it."""
    busy = service.words["throttled"]
    busy = dataclasses.replace(busy, headers=(*busy.headers, ("Retry-After", "1")))
    async with service.open(IMPATIENT) as opened:
        service.proxy.on(anything, answered(busy))
        with pytest.raises(Unavailable) as failed:
            await opened.store.stat(A)
        assert failed.value.retry_after == 1.0


async def test_a_request_whose_connection_broke_is_sent_again(service):
    """Reset before it was heard: nothing has happened, and the repeat does it."""
    async with service.open(SETTINGS) as opened:
        service.proxy.on(anything, unheard, times=1)
        made = await opened.store.put(A, b"bytes", expect=ABSENT)
        service.proxy.on(anything, unheard, times=1)
        assert (await opened.store.read_range(A, 0, 9)).info.version == made.version


async def test_a_change_whose_answer_was_lost_is_done_once(service):
    """The repeat meets its own work, and knows it; what somebody else did is not taken for it. [lost-answer]"""
    async with service.open(SETTINGS) as opened:
        store = opened.store
        writes = service.proxy.on(lambda request: request.method in ("PUT", "POST"), lost, times=1)
        made = await store.put(A, b"bytes", expect=ABSENT)
        assert (writes.left, (await store.read_range(A, 0, 9)).data) == (0, b"bytes")
        deletions = service.proxy.on(lambda request: request.method == "DELETE", lost, times=1)
        await store.delete(A, expect=made.version)
        assert deletions.left == 0
        await store.put(A, b"theirs")
        service.proxy.on(lambda request: request.method in ("PUT", "POST"), unheard, times=1)
        with pytest.raises(VersionChanged):
            await store.put(A, b"mine", expect=ABSENT)


async def test_a_copy_whose_answer_was_lost_is_done_once(service):
    """New or over another object: the bytes tell whose it is, where versions do not. [lost-answer]"""
    async with service.open(SETTINGS) as opened:
        store = opened.store
        source = await store.put(A, b"bytes")
        for expect in (ABSENT, (await store.put(Key("c"), b"other")).version):
            target = B if expect == ABSENT else Key("c")
            copies = service.proxy.on(lambda request: request.method in ("PUT", "POST"), lost, times=1)
            copied = await store.copy(source, target, expect=expect)
            assert copies.left == 0
            assert copied == await store.stat(target)
        await store.put(B, b"bytez")
        service.proxy.on(lambda request: request.method in ("PUT", "POST"), unheard, times=1)
        with pytest.raises(VersionChanged):
            await store.copy(source, B, expect=ABSENT)


async def test_an_upload_whose_answers_were_lost_is_done_once(service):
    """Parts are sent again, and a completed upload is known by the parts that the object is made of. [lost-answer]"""
    async with service.open(SETTINGS) as opened:
        upload = await opened.store.open_upload(A)
        for step in ("part", "completion"):
            changing = service.proxy.on(lambda request: request.method in ("PUT", "POST"), lost, times=1)
            await (upload.put_part(1, 0, b"part") if step == "part" else upload.complete([1], expect=ABSENT))
            assert changing.left == 0
        assert (await opened.store.read_range(A, 0, 9)).data == b"part"


async def test_a_body_that_ends_early_is_asked_for_again(service):
    """A connection that ends in the middle of a body is a failure, for objects and for listings. [short-body]"""
    data = bytes(range(256)) * 40
    async with service.open(SETTINGS) as opened:
        made = await opened.store.put(A, data)
        short = service.proxy.on(lambda request: request.method == "GET", cut(100), times=1)
        assert (await opened.store.read_range(A, 0, len(data), version=made.version)).data == data
        assert short.left == 0
        short = service.proxy.on(lambda request: request.method == "GET", cut(100), times=1)
        assert [info.key for info in (await opened.store.list_page(Key(""))).objects] == [A]
        assert short.left == 0
    async with service.open(IMPATIENT) as opened:
        service.proxy.on(lambda request: request.method == "GET", cut(100))
        with pytest.raises(Unavailable):
            await opened.store.read_range(A, 0, len(data))


async def test_a_body_of_fewer_bytes_than_the_range_is_not_taken_for_whole(service):
    """Nor where its length fits it: what counts is what the answer says of the range and the object. [short-body]"""
    data = bytes(range(256)) * 40
    async with service.open(SETTINGS) as opened:
        made = await opened.store.put(A, data)
        for start in (0, 1000):
            short = service.proxy.on(
                lambda request: request.method == "GET",
                changed(lambda answer: answer.with_body(answer.body[:100])),
                times=1,
            )
            assert (await opened.store.read_range(A, start, 5000, version=made.version)).data == data[start:][:5000]
            assert short.left == 0


PORTAL = Answer(200, (("Content-Type", "text/html"),)).with_body(b"<html><body>Please log in</body></html>")


async def test_an_answer_from_somebody_else_is_not_believed(service):
    """The page of a portal on the way, with status 200, is neither an empty listing nor an object. [portal]"""
    async with service.open(IMPATIENT) as opened:
        made = await opened.store.put(A, b"bytes")
        portal = service.proxy.on(anything, answered(PORTAL))
        for request in (
            opened.store.check,
            lambda: opened.store.list_page(Key("")),
            lambda: opened.store.stat(A),
            lambda: opened.store.read_range(A, 0, 3),
            lambda: opened.store.put(B, b"bytes"),
            lambda: opened.store.copy(made, B),
        ):
            seen = portal.seen
            with pytest.raises(Unavailable):
                await request()
            assert portal.seen > seen

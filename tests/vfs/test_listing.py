"""Listings that are untidy: out of order, with entries twice, pages again, or without an end."""

import dataclasses

import pytest

from mountd.errors import StoreFailure
from mountd.objects.memory import MemoryStore
from mountd.objects.retry import RetryingStore


class Untidy(MemoryStore):
    """Lists in pages of three, backwards and with each entry twice; every page comes twice."""

    async def list_page(self, prefix, *, recursive=False, cursor=None, limit=1000, known=b""):
        at, _, again = (cursor or "").partition("|")
        page = await super().list_page(prefix, recursive=recursive, cursor=at or None, limit=min(limit, 3))
        objects, prefixes = [*page.objects] * 2, [*page.prefixes] * 2
        following = page.cursor if again else f"{at}|again"
        return dataclasses.replace(page, objects=objects[::-1], prefixes=prefixes[::-1], cursor=following)


class Endless(MemoryStore):
    """Never gets further than the first page."""

    async def list_page(self, prefix, *, recursive=False, cursor=None, limit=1000, known=b""):
        page = await super().list_page(prefix, recursive=recursive, limit=2)
        return dataclasses.replace(page, cursor="on")


async def test_a_listing_that_repeats_and_is_out_of_order_does_no_harm(mount):
    """Each name is there once, and a directory is renamed and removed as a whole. [untidy-listing]"""
    names = [f"f{i}" for i in range(8)]
    async with mount(Untidy()) as shell:
        for name in names:
            await shell.put(f"d/{name}", name.encode())
        await shell.put("d/sub/deep", b"deep")
        assert await shell.listdir("d") == [*names, "sub"]
        await shell.rename("d", "e")
        assert await shell.listdir("e") == [*names, "sub"]
        assert await shell.listdir() == ["e"]
        assert [await shell.stored(f"e/{name}") for name in names] == [name.encode() for name in names]
        assert await shell.stored("e/sub/deep") == b"deep"
        for name in [*names, "sub/deep"]:
            await shell.unlink(f"e/{name}")
        await shell.rmdir("e/sub")
        await shell.rmdir("e")
        assert await shell.listdir() == []


async def test_a_listing_without_an_end_is_given_up(mount):
    """An error for whoever asks, instead of memory and requests without bounds."""
    async with mount(RetryingStore(Endless(), budget=1)) as shell:
        for i in range(5):
            await shell.put(f"f{i}", b"1")
        with pytest.raises(StoreFailure, match="again and again"):
            await shell.listdir()

"""What a program writes, line by line: whatever it writes, and however much of it comes at a time."""

from __future__ import annotations

import asyncio

from snakepit._lines import LINE_BYTES, lines_of


async def read(*written: bytes) -> list[str]:
    output = asyncio.StreamReader()
    for each in written:
        output.feed_data(each)
    output.feed_eof()
    return [line async for line in lines_of(output)]


async def test_lines_come_without_their_ends_and_so_does_what_has_none() -> None:
    assert await read(b"a\n\nb", b"c\nd\xff") == ["a", "", "bc", "d\ufffd"]
    assert await read() == []


async def test_a_line_without_an_end_is_cut_and_nothing_of_it_is_lost() -> None:
    found = await read(b"x" * (3 * LINE_BYTES), b"\nlast\n")
    assert "".join(found) == "x" * (3 * LINE_BYTES) + "last"
    assert max(map(len, found)) <= LINE_BYTES + (1 << 16)
    assert found[-1] == "last"

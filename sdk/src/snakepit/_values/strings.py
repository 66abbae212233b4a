"""Text that UTF-8 doesn't have: halves of surrogate pairs, as Python gives them in names of files that are not UTF-8. Pure.

What must arrive, such as an error's message, is written so that it can; what was asked for is refused in a sentence.
"""

from __future__ import annotations

import re
from typing import Any

from snakepit.errors import InvalidArguments

_HALF = rb"\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])|(?<!\\u[dD][89abAB][0-9a-fA-F]{2})\\u[dD][c-fC-F][0-9a-fA-F]{2}"
_WHAT = "half of a surrogate pair, which text in UTF-8 can't have: replace it, or send bytes"


def readable(text: str) -> str:
    r"""The text, with `\udcff` written out where it is no character."""
    return text if text.isascii() else text.encode(errors="backslashreplace").decode()


def clipped(text: str, most: int) -> str:
    """The beginning of a text, of at most so many bytes of UTF-8."""
    if len(text) * 4 <= most or len(data := text.encode(errors="replace")) <= most:
        return text
    return data[:most].decode(errors="ignore")


ECHOED = 200
"""Characters of what was sent that a refusal gives back."""


def quoted(text: str) -> str:
    """The text as Python writes it, and what is over ECHOED characters left out: whoever sent megabytes knows them."""
    return repr(text if len(text) <= ECHOED else f"{text[: ECHOED - 1]}…")


def refusal(what: str, error: UnicodeEncodeError) -> InvalidArguments:
    """`what` holds such a text."""
    return InvalidArguments(f"{what} has {error.object[error.start]!r}, {_WHAT}")


def check_type(what: str, value: Any) -> str:
    """The value itself, which is text. Raises InvalidArguments."""
    if not isinstance(value, str):
        raise InvalidArguments(f"{what} {value!r:.40} must be text, not {type(value).__name__}")
    return value


def check(what: str, text: str) -> str:
    """The text itself. Raises InvalidArguments."""
    try:
        text.encode()
    except AttributeError:
        raise InvalidArguments(f"{what} {text!r:.40} must be text, not {type(text).__name__}") from None
    except UnicodeEncodeError as error:
        raise refusal(what, error) from None
    return text


def why_unreadable(data: bytes, error: Exception) -> str:
    """What is wrong with bytes that are not the JSON or msgpack that they are said to be."""
    if isinstance(error, UnicodeDecodeError):
        return f"text in them is not UTF-8 ({error.reason}): send such bytes as bytes"
    if (found := re.search(_HALF, data)) is not None:
        return f"they have {found[0].decode()}, {_WHAT}"
    return str(error)

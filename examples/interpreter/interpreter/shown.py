"""What a value looks like beside its text: a chart, a table. Pure."""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from snakepit import Attachment

RICHEST = ("image/png", "image/jpeg", "image/svg+xml", "application/pdf", "text/html", "text/markdown", "text/latex", "application/json")
"""IPython has a value in all forms that it knows. The first of these is kept."""
BINARY = ("image/png", "image/jpeg", "application/pdf")


@dataclass
class Shown:
    """Its media type, and the file."""

    media: str
    data: Attachment

    @property
    def size(self) -> int:
        return len(self.data.data)


def richest(forms: Mapping[str, Any]) -> Shown | None:
    """Of IPython's dictionary of media types. None: it has only text."""
    media = next((each for each in RICHEST if each in forms), None)
    return Shown(media, Attachment(media, content(media, forms[media]))) if media else None


def content(media: str, form: Any) -> bytes:
    """Bytes as they are; pictures that are text are base64, as IPython's notebooks have them."""
    if isinstance(form, bytes):
        return form
    if not isinstance(form, str):
        return json.dumps(form).encode()
    return base64.b64decode(form) if media in BINARY else form.encode()

"""What a request may be: how large, and under which id it is known."""

from __future__ import annotations

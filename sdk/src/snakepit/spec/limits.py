"""What the fields of a `SnakePool` are made of: numbers with their limits, quantities, and the form of a section."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

Seconds = Annotated[float, Meta(ge=0, le=31_536_000)]
PositiveSeconds = Annotated[float, Meta(gt=0, le=31_536_000)]
DrainSeconds = Annotated[float, Meta(ge=0, le=86_400)]
Count = Annotated[int, Meta(ge=1, le=1_000_000)]
Bytes = Annotated[int, Meta(ge=1, le=1_073_741_824)]
CountOrPercent = (
    Annotated[int, Meta(ge=0)]
    | Annotated[str, Meta(pattern=r"^(100|[1-9]?[0-9])%$", extra={"says": "it must be a count, like 2, or a percentage from 0% to 100%"})]
)
Quantity = (
    Annotated[int, Meta(ge=1)]
    | Annotated[
        str,
        Meta(
            pattern=r"^[0-9]+(\.[0-9]+)?(k|M|G|T|Ki|Mi|Gi|Ti)?$",
            extra={"says": "it must be a number of bytes, or a number and k, M, G, T, Ki, Mi, Gi or Ti right behind it, like 512Mi"},
        ),
    ]
)

_UNITS = {"k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}


def quantity_bytes(quantity: int | str) -> int:
    """Convert a quantity to bytes, rounded down. The pattern of the field has admitted the text already."""
    if isinstance(quantity, int):
        return quantity
    number = quantity.rstrip("kKMGTi")
    return int(float(number) * _UNITS.get(quantity[len(number) :], 1))


class Section(Struct, frozen=True, rename="camel"):
    """A value that is camelCase in a pool file and snake_case in Python."""

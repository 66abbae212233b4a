"""Amounts as Kubernetes writes them: 512Mi, 1.5G, 1048576. Pure."""

from __future__ import annotations

_UNITS = {"k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}


def quantity_bytes(quantity: int | str) -> int:
    """Bytes, rounded down. The pattern of the field has admitted the text already."""
    if isinstance(quantity, int):
        return quantity
    number = quantity.rstrip("kMGTi")
    return int(float(number) * _UNITS.get(quantity[len(number) :], 1))

"""A small model: a text's vector is the sum of random vectors of its pieces of three letters. It knows nothing of Snakepit.

Yours would be loaded from a file of the image or of a volume. What matters here is that it is large, and only read.
"""

import zlib
from collections.abc import Iterator

import numpy

ROWS, WIDTH = 2**14, 512

TABLE = numpy.random.default_rng(7).standard_normal((ROWS, WIDTH), dtype=numpy.float32)
TABLE.setflags(write=False)  # a page that a worker writes to is its own from then on


def embed(texts: list[str]) -> numpy.ndarray:
    """A row of length 1 for each text; of length 0 for an empty one."""
    vectors = numpy.zeros((len(texts), WIDTH), dtype=numpy.float32)
    for number, text in enumerate(texts):
        vectors[number] = TABLE[list(_pieces(text))].sum(axis=0)
    lengths = numpy.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / numpy.where(lengths == 0, 1, lengths)


def _pieces(text: str) -> Iterator[int]:
    """The row of each piece of three letters, the same in every process."""
    for word in text.lower().split():
        around = f" {word} "
        for at in range(len(around) - 2):
            yield zlib.crc32(around[at : at + 3].encode()) % ROWS

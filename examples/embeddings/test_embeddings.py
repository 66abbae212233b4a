"""The tools in real workers, and what a worker costs. `pytest examples/embeddings`."""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy
import pytest

import snakepit_worker.testing
from embeddings.model import TABLE, WIDTH
from embeddings.tools import Embeddings
from snakepit import InvalidArguments, ToolError

TEXTS = ["the cat sleeps", "a cat slept", "prices rise"]


@pytest.fixture
def embeddings() -> Iterator[snakepit_worker.testing.LocalWorker]:
    with snakepit_worker.testing.start(Embeddings) as embeddings:
        yield embeddings


def test_vectors_are_an_array_and_the_same_in_every_worker(embeddings) -> None:
    vectors = embeddings.call("embed", {"texts": TEXTS})
    assert (vectors.dtype, vectors.shape) == (numpy.float32, (3, WIDTH))
    assert numpy.linalg.norm(vectors, axis=1) == pytest.approx([1, 1, 1], abs=1e-5)
    with snakepit_worker.testing.start(Embeddings) as another:
        assert numpy.array_equal(another.call("embed", {"texts": TEXTS}), vectors)


def test_what_is_alike_is_near(embeddings) -> None:
    vectors = embeddings.call("embed", {"texts": TEXTS})
    assert embeddings.call("nearest", {"text": "cats sleep", "vectors": vectors, "most": 2}) == [0, 1]


def test_a_text_without_letters_is_no_number_that_is_none(embeddings) -> None:
    assert not embeddings.call("embed", {"texts": [""]}).any()


def test_what_does_not_fit_is_said(embeddings) -> None:
    with pytest.raises(InvalidArguments, match="texts"):
        embeddings.call("embed", {"texts": []})
    with pytest.raises(ToolError, match=f"rows of {WIDTH} numbers"):
        embeddings.call("nearest", {"text": "cat", "vectors": numpy.zeros((2, 3))})


def test_a_worker_has_no_model_of_its_own(embeddings) -> None:
    """The model is shared with the others, also after it has been used."""
    assert embeddings.note == ""  # it was forked
    embeddings.call("embed", {"texts": TEXTS})
    memory = Path(f"/proc/{embeddings.pid}/smaps_rollup").read_text()
    own = sum(int(kilobytes) * 1024 for kilobytes in re.findall(r"^Private_\w+: +(\d+) kB$", memory, re.MULTILINE))
    assert 0 < own < TABLE.nbytes

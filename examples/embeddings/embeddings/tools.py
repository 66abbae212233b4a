"""The tools: importing this module imports the model, once for all workers of a capsule (`worker.startup: fork`)."""

from typing import Annotated

import numpy
from msgspec import Meta

from embeddings import model
from snakepit import Adapter, tool

Texts = Annotated[list[str], Meta(min_length=1, max_length=1000, description="A batch; split what is longer.")]


class Embeddings(Adapter):
    """Texts as vectors, and which are alike."""

    @tool(read_only=True, idempotent=True)
    def embed(self, texts: Texts) -> numpy.ndarray:
        """A row for each text, float32, of length 1."""
        return model.embed(texts)

    @tool(read_only=True, idempotent=True)
    def nearest(self, text: str, vectors: numpy.ndarray, most: int = 3) -> list[int]:
        """The rows of `vectors` that are most like the text, best first."""
        if vectors.ndim != 2 or vectors.shape[1] != model.WIDTH:
            raise ValueError(f"vectors must be rows of {model.WIDTH} numbers, and have the shape {vectors.shape}")
        alike = vectors @ model.embed([text])[0]
        return numpy.argsort(-alike, kind="stable")[:most].tolist()

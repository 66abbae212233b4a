"""A classifier of handwritten digits, trained at the worker's start on half of the 1,797 scanned digits that come with scikit-learn.

The data: E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository, 1998.
"""

import time
from collections.abc import Iterator
from typing import Annotated

from msgspec import Meta
from sklearn.datasets import load_digits
from sklearn.svm import SVC

from snakepit import Adapter, Context, tool

Image = Annotated[list[float], Meta(min_length=64, max_length=64, description="8x8 grey values, 0 to 16, row by row")]


class Digits(Adapter):
    """Handwritten digits."""

    def setup(self) -> None:
        """Train on every even scan; the odd ones are held out."""
        data = load_digits()
        self.held_out_images = data.data[1::2]
        self.held_out_labels = data.target[1::2]
        self.model = SVC(gamma=0.001).fit(data.data[::2], data.target[::2])

    @tool
    def classify(self, image: Image) -> int:
        """Which digit does this image show?"""
        return int(self.model.predict([image])[0])

    @tool
    def held_out(self) -> dict[str, list[object]]:
        """The images that the model has never seen, and what they show."""
        return {"images": self.held_out_images.tolist(), "labels": self.held_out_labels.tolist()}

    @tool
    def count(self, to: int, pause: float = 0.0, *, ctx: Context) -> Iterator[int]:
        """Count from 0, one piece at a time, with a pause in seconds before each."""
        for number in range(to):
            ctx.check()
            time.sleep(pause)
            yield number

    @tool
    def tally(self, digit: int, *, ctx: Context) -> dict[str, int]:
        """Count how often the session has seen each digit; returns its counts so far."""
        counts = dict(ctx.state.get("counts", {}))
        counts[str(digit)] = counts.get(str(digit), 0) + 1
        ctx.state.set("counts", counts)
        return counts

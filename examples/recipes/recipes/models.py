"""scikit-learn: the model is loaded at import and read by all workers, which have random numbers of their own."""

import numpy
from sklearn.linear_model import LinearRegression

from snakepit import Adapter, tool

MODEL = LinearRegression().fit([[1.0], [2.0], [3.0]], [2.0, 4.0, 6.0])  # joblib.load(...) in your code


class Models(Adapter):
    def setup(self) -> None:
        self.random = numpy.random.default_rng()

    @tool
    def predict(self, values: list[float]) -> list[float]:
        return MODEL.predict([[value] for value in values]).tolist()

    @tool
    def sample(self) -> float:
        return self.random.random()

"""pydantic: models are arguments and results, and their validators run before the tool does."""

from pydantic import BaseModel, Field, field_validator

from snakepit import Adapter, tool


class Order(BaseModel):
    item: str
    count: int = Field(ge=1, le=100)

    @field_validator("item")
    @classmethod
    def known(cls, item: str) -> str:
        if item not in ("tea", "milk"):
            raise ValueError("we sell tea and milk")
        return item


class Orders(Adapter):
    @tool
    def double(self, order: Order, limit: int = Field(default=100, ge=1)) -> Order:
        return order.model_copy(update={"count": min(order.count * 2, limit)})

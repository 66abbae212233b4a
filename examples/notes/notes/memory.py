"""A session's memory: an index that is quick to ask and slow to save, rebuilt from the session's state wherever the session goes."""

from collections import Counter

from snakepit import Adapter, Context, tool


class Index:
    """What is kept in the worker's memory for one session."""

    def __init__(self) -> None:
        self.words: Counter[str] = Counter()
        self.texts = 0

    def add(self, text: str) -> None:
        self.words.update(text.lower().split())
        self.texts += 1


class Memory(Adapter):
    """Texts by session, and the words that are common in them."""

    def setup(self) -> None:
        self.indexes: dict[str, Index] = {}

    def on_session_start(self, ctx: Context) -> None:
        """The one place where memory is made: for a new session, and for one that comes from another worker."""
        index = Index()
        for number in range(ctx.state.get("texts", 0)):
            index.add(ctx.state.get(f"text/{number}"))
        self.indexes[ctx.session_id] = index

    def on_session_end(self, session_id: str) -> None:
        del self.indexes[session_id]

    @tool
    def learn(self, text: str, *, ctx: Context) -> int:
        """Keep a text; how many there are now."""
        index = self.indexes[ctx.session_id]
        ctx.state.set(f"text/{index.texts}", text)
        ctx.state.set("texts", index.texts + 1)
        index.add(text)
        return index.texts

    @tool
    def common(self, most: int = 3, *, ctx: Context) -> list[str]:
        """The most common words of this session's texts."""
        return [word for word, _ in self.indexes[ctx.session_id].words.most_common(most)]

"""Search sentences by likeness: `python examples/embeddings/search.py`. The caller needs numpy, too."""

import asyncio

import snakepit

SENTENCES = ["the cat sleeps on the sofa", "prices rise again", "a new recipe for apple cake", "trains are late today"]


async def main() -> None:
    async with snakepit.Client() as client:
        pool = client.pool("embeddings")
        vectors = await pool.call("embed", {"texts": SENTENCES})
        print(type(vectors).__name__, vectors.dtype, vectors.shape)
        for question in ("recipes for cakes", "late trains", "rising prices"):
            (best,) = await pool.call("nearest", {"text": question, "vectors": vectors, "most": 1})
            print(f"{question}: {SENTENCES[best]}")


if __name__ == "__main__":
    asyncio.run(main())

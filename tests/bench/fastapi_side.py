"""The baseline of calls over HTTP: FastAPI and uvicorn, as their documents have it, serve the same function in one process, at a port."""

from __future__ import annotations

import sys

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

app = FastAPI()


class Arguments(BaseModel):
    text: str


@app.post("/echo")
async def echo(arguments: Arguments) -> str:
    return arguments.text


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), loop="uvloop", http="httptools", access_log=False, log_level="warning")

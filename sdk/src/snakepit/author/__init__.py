"""The author's side: adapters, tools, contexts, and what reads them. It needs msgspec and nothing else.

An author imports the names that `snakepit` itself has: `Adapter`, `tool`, `Context`, `AsyncContext`, `Interrupted`, `Attachment`.
"""

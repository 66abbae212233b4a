"""What an author's tools are made of: the adapter and its `@tool` methods, their signatures, the context of a running call."""

"""All of the pool's code. On a cluster it is a key of a ConfigMap."""

from snakepit import Adapter, tool

WORDS = {"en": "Hello", "fr": "Bonjour", "de": "Guten Tag"}


class Greeter(Adapter):
    """Greets people."""

    @tool(read_only=True)
    def greet(self, name: str, language: str = "en") -> str:
        """A greeting, in English where the language is unknown."""
        return f"{WORDS.get(language, WORDS['en'])} {name}"

"""Values between Python and the wire: how arguments and results become payloads, and payloads what a signature says. Private."""

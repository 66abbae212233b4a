"""Snakepit's front door: tools over HTTP and MCP, and a console, as an ordinary client of the control plane."""

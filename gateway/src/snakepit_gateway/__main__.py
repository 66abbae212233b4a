"""`python -m snakepit_gateway`."""

from snakepit_gateway.main import main

main()

"""`python -m snakepit_agent`."""

from snakepit_agent.main import main

main()

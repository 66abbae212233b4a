"""`python -m snakepit.cli`."""

from snakepit.cli import main

if __name__ == "__main__":
    main()

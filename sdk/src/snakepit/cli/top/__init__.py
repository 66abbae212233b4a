"""`snakepit top`: pools and workers as they are now, on a terminal that is kept up to date."""

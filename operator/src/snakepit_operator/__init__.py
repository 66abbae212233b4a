"""Makes SnakePools so, and keeps them so."""

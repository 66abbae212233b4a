"""A shop whose tool asks the person in front of the screen."""

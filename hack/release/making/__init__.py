"""What makes a release out of a commit: a module a kind of thing that is made."""

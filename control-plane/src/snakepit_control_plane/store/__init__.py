"""Where sessions, bindings and pool settings outlive any process of ours."""

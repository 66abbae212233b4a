"""What is decided: who is let in, which worker, which calls are the same, what is called back. Pure; takes `now`."""

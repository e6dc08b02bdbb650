"""What can be said about observations and their samples without any true initial state."""

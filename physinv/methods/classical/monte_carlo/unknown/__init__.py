"""Paths of processes with unknown parameters: their last noise, and coordinates that follow the parameters."""

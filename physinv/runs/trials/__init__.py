"""Trials of answers on new trajectories: where those begin, and answers to records as the command gives them."""

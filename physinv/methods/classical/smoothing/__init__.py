"""Trajectories from initial states that another method drew."""

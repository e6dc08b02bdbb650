"""Continuous normalising flows: velocities from noise to data, their densities, and laws of states learned by them."""

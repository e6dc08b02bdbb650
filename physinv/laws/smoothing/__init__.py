"""Exact answers to records of observations, where initial states are Gaussian or a mixture of Gaussians."""

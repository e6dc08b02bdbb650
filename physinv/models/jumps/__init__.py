"""Jump kernels: conditional laws ``p(x_s | x_t)`` of earlier states given later ones, at pairs of stored times."""

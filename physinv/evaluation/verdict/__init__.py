"""What a reconstruction is worth, in sentences."""

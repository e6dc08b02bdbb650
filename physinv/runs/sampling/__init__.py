"""The parts of a reconstruction: what is read, drawn, run forward and written."""

"""Filters: estimates of the state at each time of a long record, from all that is seen until then."""

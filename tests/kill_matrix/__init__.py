"""A service killed again and again, at every step, over a real broker: nothing may be lost, nothing doubled."""

"""Worlds with a seed: data sets, synthetic streams, faults."""

"""Rivals: recommenders that a team would otherwise run, under the protocol that the production loop is tested by."""

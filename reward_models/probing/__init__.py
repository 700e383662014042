"""Probes of reward models: edits that a policy may try, and how the score of a model reacts to them."""

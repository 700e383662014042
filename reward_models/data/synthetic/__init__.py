"""Synthetic data with a programmatic gold judge; :mod:`reward_models.data.synthetic.draws` draws the data sets.

Nothing is imported here: the modules of this package import one another.
"""

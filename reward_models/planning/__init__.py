"""Estimates made before a run: sizes of models, devices, and memory of a rank. Pure functions that load no model."""

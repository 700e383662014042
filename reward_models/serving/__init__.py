"""Reward models behind HTTP: continuous batches over all clients, limits, and the protocols of RL libraries."""

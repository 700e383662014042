"""Reward models: data, training, evaluation. It imports nothing else of ours."""

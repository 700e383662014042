"""Reinforcement learning of the alignment stage. It may import ``reward_models``, never the reverse."""

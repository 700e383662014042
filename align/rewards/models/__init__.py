"""Reward models as reward terms, in this process or behind servers."""

"""Constraints on a response that a program can check, and the reward term that checks them."""

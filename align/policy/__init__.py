"""The policy and its reference model."""

"""Responses of a policy in a file: sampled, scored, selected for fine-tuning, evaluated."""

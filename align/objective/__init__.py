"""The objective: losses, advantages and log-probabilities. Pure functions of tensors; torch only."""

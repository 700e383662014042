"""The parts of one training step: rollout records, batches, update, evaluation, sample log."""

"""The annotation app. Of ours it imports ``reward_models.data`` only."""

"""Engines that sample responses from the policy, all behind DeepSpeed's :class:`RolloutEngine`."""

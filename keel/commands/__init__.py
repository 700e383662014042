"""The sub-commands of ``keel``."""

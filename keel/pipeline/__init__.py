"""Projects: the stages of a run."""

"""Labelling: assignment, judgements and the annotator's session."""

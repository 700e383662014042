"""Curation: pairs of responses become comparisons, by the averaged verdicts of a judge.

The method is that of DeepSeek-R1's helpful reward model (arXiv:2501.12948, supplement); docs/curation.md says what of
it is ours.
"""

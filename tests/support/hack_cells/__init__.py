"""The matrix of hacks: for each verifier, classes of texts that must earn nothing, and right answers in the same forms.

A text is made from a class (what the policy tries), a surface form (where it writes it) and a reference. ``want`` is
the score: 0.0 for the hack, 1.0 for the same form with an answer that is really given.
"""

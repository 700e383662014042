"""The ``keel`` command: what the packages offer, in one place. Nothing imports from here."""

"""The command ``keel``. The other packages do not import from it."""

"""Reports and the manifest of a finished policy."""

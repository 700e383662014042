"""Import, export and scores."""

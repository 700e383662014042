"""Quality: agreement and statistics."""

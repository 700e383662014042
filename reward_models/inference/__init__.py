"""Trained reward models in use: scoring conversations and files."""

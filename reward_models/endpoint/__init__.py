"""Chat models behind OpenAI-compatible endpoints as judges: the client, and the file of their answers."""

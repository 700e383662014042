"""Rules over a response's form: format, language, penalties."""

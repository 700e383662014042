"""Our rewards inside other libraries' loops. None of these libraries is imported here."""

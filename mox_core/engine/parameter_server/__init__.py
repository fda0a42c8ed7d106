"""Workers that do not step together, with variables on parameter servers."""

"""Parts that Tokenmill can run itself, so that a machine with only Python has the whole path."""

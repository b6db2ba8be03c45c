"""The command `tokenmill`: one file a command. The only part of `infra` that reaches the other packages."""

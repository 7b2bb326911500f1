"""What the subcommands of `keras-ltssl` do."""

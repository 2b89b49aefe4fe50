"""What other programs ask for by a name of their own kind; each module needs its program."""

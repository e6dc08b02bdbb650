"""What the command line shows and hears: tables and errors, progress, Ctrl-C."""

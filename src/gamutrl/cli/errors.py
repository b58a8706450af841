"""What goes wrong before anything runs."""


class UsageError(Exception):
    """The command line asks for something that cannot be; the message says what to write instead."""

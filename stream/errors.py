"""What can go wrong, and what the operator does about it.

Programmers' errors are assertions. Everything a user or operator can meet is a :class:`ScallError`, whose text is one
line naming the thing, the place and the remedy.
"""


class ScallError(Exception):
    """Root of all errors that a user can meet; its text is shown as it is, without a traceback."""

    retriable = False


class UsageError(ScallError):
    """A wrong option, argument or setting: exit status 2."""


class InputError(ScallError):
    """A source that cannot be read at all (a missing file, a missing column): exit status 2."""


class BudgetError(ScallError):
    """A memory budget that is no size, or too small for anything useful: exit status 2."""


class CheckpointError(ScallError):
    """A checkpoint that is torn, foreign or of another version; the text says which and what to do."""


class StorageError(ScallError):
    """A disk that refused a write; the previous checkpoint stays good."""

    retriable = True

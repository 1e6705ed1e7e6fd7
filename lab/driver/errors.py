"""The two ways a command may fail: what was asked is wrong, or the lab couldn't do it.

Rule: `str()` of each is clear by itself, one sentence (for a scenario: one per mistake), and is printed as it stands.
Any other exception that reaches the user is a bug."""

from __future__ import annotations


class UsageError(Exception):
    """The command line or a scenario is wrong; nothing was started."""

    exit_code = 2


class LabError(Exception):
    """The lab could not be brought up, broke, or passed its time limit."""

    exit_code = 3


class LeftBehind(LabError):
    """A lab could not be taken down whole: the sentence says what is left, and which command removes it."""

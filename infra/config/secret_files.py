"""Passwords that lie in files, as Docker and Kubernetes hand them over."""

from __future__ import annotations

import stat
from pathlib import Path

LARGEST_BYTES = 64 * 1024


def read_secret(path: Path) -> str:
    """The one line of text in a file, without the newline at its end.

    Raises ValueError that says what is wrong with the file and what to do, never what it holds.
    """
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_BYTES + 1)
    except OSError as error:
        raise ValueError(f"cannot be read ({error.strerror}): name a file that this user can read") from None
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise ValueError("is not UTF-8 text: write the password alone into it") from None
    text = text.removesuffix("\n").removesuffix("\r")
    if not text:
        raise ValueError("is empty: write the password into it")
    if len(content) > LARGEST_BYTES or any(sign in text for sign in "\0\r\n"):
        raise ValueError("holds more than one line: write the password alone into it")
    return text


def can_be_read_again(path: Path) -> bool:
    """Whether a child process will find the same in it: not so for a pipe, as the shell's <(...) makes it."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return False

"""Files of environment variables that containers leave for others: NAME='value', a small part of what a shell reads."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import Final

from orch.errors import OrchError
from orch_agent.volumes.kernel import open_beneath

_NAME: Final = re.compile(r"[ \t]*([-._a-zA-Z][-._a-zA-Z0-9]*)[ \t]*=[ \t]*")
LONGEST_FILE: Final = 64 << 10
"""Bytes that such a file may have, as in kubelet."""


class EnvFileError(OrchError):
    """A file of variables cannot be read; the message says at which line."""


def read_beneath(folder: Path, path: str) -> str | None:
    """Return the content of a file below a folder that containers write to; None for none. Raises EnvFileError."""
    try:
        root = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        found = open_beneath(root, path.lstrip("/"), os.O_RDONLY | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise EnvFileError(f"{path} cannot be opened: {error.strerror}") from error
    finally:
        os.close(root)
    try:
        if not stat.S_ISREG(os.fstat(found).st_mode):
            raise EnvFileError(f"{path} is not a regular file")
        data = os.read(found, LONGEST_FILE + 1)
    finally:
        os.close(found)
    if len(data) > LONGEST_FILE:
        raise EnvFileError(f"{path} is longer than {LONGEST_FILE} bytes")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise EnvFileError(f"{path} is not UTF-8") from error


def variable_of(content: str, key: str) -> str | None:
    """Return the last value that a file gives to `key`, None if none. Raises EnvFileError."""
    found: str | None = None
    place, line = 0, 1
    while place < len(content):
        end = content.find("\n", place)
        end = len(content) if end < 0 else end
        text = content[place:end].strip()
        if not text or text.startswith("#"):
            place, line = end + 1, line + 1
            continue
        match = _NAME.match(content, place)
        if match is None or match.end() > end:
            raise EnvFileError(f"line {line}: a variable is declared as NAME='value'")
        if content[match.end() : match.end() + 1] != "'":
            raise EnvFileError(f"line {line}: the value of {match.group(1)} must be in single quotes")
        closing = content.find("'", match.end() + 1)
        if closing < 0:
            raise EnvFileError(f"line {line}: the value of {match.group(1)} has no closing quote")
        value = content[match.end() + 1 : closing]
        end = content.find("\n", closing)
        end = len(content) if end < 0 else end
        if content[closing + 1 : end].strip():
            raise EnvFileError(f"line {line}: nothing may follow the value of {match.group(1)}")
        if match.group(1) == key:
            found = value
        place, line = end + 1, line + value.count("\n") + 1
    return found

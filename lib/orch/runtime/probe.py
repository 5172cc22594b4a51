"""Asks a service over HTTP whether it is well, for a container's health check: the exit code is 0 when it is.

    python3 -m orch.runtime.probe URL [CA_FILE]

A command without a space in any argument, because some container engines take health checks apart at spaces.
"""

from __future__ import annotations

import argparse
import ssl
import sys
import urllib.error
import urllib.request
from typing import Final

_TIMEOUT: Final = 4.0


def main(arguments: list[str] | None = None) -> None:
    """Ask once; exit with 0 for an answer of 2xx, else say what is wrong and exit with 1."""
    parser = argparse.ArgumentParser(prog="orch.runtime.probe", description="Ask a service whether it is well.")
    parser.add_argument("url")
    parser.add_argument("ca_file", nargs="?", help="the authority that vouches for an https server")
    parsed = parser.parse_args(arguments)
    if not parsed.url.startswith(("http://", "https://")):
        parser.error(f"expected an http or https address, got {parsed.url!r}")
    context = ssl.create_default_context(cafile=parsed.ca_file) if parsed.ca_file else None
    try:
        with urllib.request.urlopen(parsed.url, timeout=_TIMEOUT, context=context):  # noqa: S310 - checked above
            sys.exit(0)
    except urllib.error.HTTPError as error:
        with error:
            sys.exit(f"{parsed.url}: {error}")
    except OSError as error:
        sys.exit(f"{parsed.url}: {error}")


if __name__ == "__main__":
    main()

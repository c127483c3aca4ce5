#!/usr/bin/env python3
"""Asks a URL whether its service is well: exit code 0 for an answer below 400, else 1. Standard library only."""

import sys
import urllib.error
import urllib.request


def main() -> int:
    """Asks the URL that is the only argument."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(sys.argv[1], timeout=4.0):
            return 0
    except (OSError, urllib.error.URLError) as error:
        print(error, file=sys.stderr)  # noqa: T201 - the container engine shows it beside the state
        return 1


if __name__ == "__main__":
    sys.exit(main())

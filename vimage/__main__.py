"""``python3 -m vimage``: the same as the command vimage."""

import sys

from vimage.client import main

if __name__ == "__main__":
    sys.exit(main())

"""``python3 -m vimage``: the same as the command vimage."""

import sys

from vimage.main import main

if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:  # after all that main sees to
        sys.exit(130)

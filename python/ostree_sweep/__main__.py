"""`python -m ostree_sweep` is the `ostree-sweep` command."""

import sys

from .cli import main

sys.exit(main())

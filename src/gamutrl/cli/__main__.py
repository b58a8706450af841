"""`python -m gamutrl.cli`."""

import sys

from gamutrl.cli.command import main

sys.exit(main())

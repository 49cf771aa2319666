"""`python -m streamgate` is `streamgate`."""

import sys

from streamgate.cli import main

sys.exit(main())

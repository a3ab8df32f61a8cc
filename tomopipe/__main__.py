"""`python -m tomopipe` is the same as `tomopipe`."""

import sys

from tomopipe.cli.main import main

sys.exit(main())

# SPDX-License-Identifier: Apache-2.0
"""python3 -m analysis: see --help."""
import sys

try:
    import h5py  # noqa: F401
    import matplotlib  # noqa: F401
    import numpy  # noqa: F401
except ImportError as error:
    sys.exit(f"analysis needs h5py, numpy and matplotlib (Debian: python3-h5py python3-matplotlib): {error}")

from .command_line import main  # noqa: E402

sys.exit(main())

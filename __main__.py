"""`python -m avr`, which is `avr`."""

import os
import sys

# With -m Python looks for modules in the working directory first: what lies there is not to be taken for a library's.
if not sys.flags.safe_path and sys.path and os.path.abspath(sys.path[0]) == os.getcwd():
    del sys.path[0]

from avr.cli import main

main(prog_name="avr")

"""``python -m tso_dso`` is ``tso-dso``."""

from tso_dso import main

main()

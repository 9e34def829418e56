"""What is measured: sizes, seeds, limits, one run, a sweep of runs, and the suites for asv and pytest."""

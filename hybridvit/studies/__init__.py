"""Studies: grids of runs that resume, their statistics and their reports."""

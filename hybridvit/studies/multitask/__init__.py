"""Several tasks on one backbone, against each task alone."""

"""What decisions tell: figures with intervals, as table, page and metrics; and one case as a dispute report."""

"""Terminal output: progress, reports, answers with their sources."""

"""What a person sees in the terminal: progress, reports, answers with their sources."""

"""Training: examples, what one step computes, and the loop that survives being killed."""

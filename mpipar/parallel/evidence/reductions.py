"""Ways to make one array of the ranks' parts (p, …)."""

REDUCTIONS = {
    "the maximum": lambda parts: parts.max(axis=0),
    "the minimum": lambda parts: parts.min(axis=0),
    "the product": lambda parts: parts.prod(axis=0),
    "the mean": lambda parts: parts.mean(axis=0),
    "the sum": lambda parts: parts.sum(axis=0),
    "only rank 0's": lambda parts: parts[0],
}

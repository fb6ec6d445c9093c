"""The batch lane: jobs asked together, at half the price."""

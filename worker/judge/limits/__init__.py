"""How fast a judge may be asked: adaptive limiter, queue, hard quota."""

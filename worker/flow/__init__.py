"""The way of a run, one file an arrow: take, draw, dispatch, score, settle, summarise, compare; reconcile heals."""

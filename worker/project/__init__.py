"""One installation: settings, store, scorers, prices, nights."""

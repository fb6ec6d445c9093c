"""The composition root: settings, store, scorers, prices and nights of one installation, built once and handed down."""

"""Contracts, configuration, model store and what several pipelines share."""

"""A module here is a pipeline; a folder here is what pipelines are made of."""

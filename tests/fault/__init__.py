"""A package, so that one server can be shared by its tests and stops with the last of them."""

"""A strict stand-in: see tests/vendor/fastdeploy_like.py."""

from tests.vendor import fastdeploy_like

fastdeploy_like.fill(globals(), "fastdeploy")

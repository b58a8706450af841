"""Hypothesis on a machine that others use too: what an example takes by the clock says nothing."""

from hypothesis import settings

settings.register_profile("shared machine", deadline=None)
settings.load_profile("shared machine")

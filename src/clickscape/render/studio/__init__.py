"""The studio: a deferred two-dimensional shader that draws a scene around the untouched product, without weights."""

"""Routes under /v1, typed: each reads a request, calls the service's parts, and answers JSON."""

"""Looks whether a cluster is really decided for by this server, and says for each finding what mends it."""

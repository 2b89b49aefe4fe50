"""Backends for operations that have no readiness, for engines that have none of their own."""

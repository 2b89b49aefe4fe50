"""Accepting connections: the listener of one socket, and asyncio's Server over several."""

"""asyncio transports, one family for all engines."""

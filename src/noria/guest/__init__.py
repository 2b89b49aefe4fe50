"""Files on other people's event loops: asyncio's own, uvloop's, any that has `add_reader`."""

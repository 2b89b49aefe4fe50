"""The asyncio face: `asyncio.AbstractEventLoop`, assembled from small mixins over LoopCore."""

"""How operations get done: one module is one engine, and its file name is the engine's name."""

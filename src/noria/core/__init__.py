"""Nouns: operation, completion, descriptor, buffer, clock, timers, inbox. No I/O but closing."""

"""The iteration: handles, timers, ready callbacks, and the turn that ties them to an engine."""

"""The lab's jobs: each takes its options, runs to the end and returns a Document."""

"""The tests of noria; see CONTRIBUTING.md."""

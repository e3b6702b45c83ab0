"""Helpers of the tests: real repositories and sysroots, made by `ostree`."""

"""JSON schemas of what each command prints with `--json`, and `error.json` for a command that fails.

`make schemas` writes them. A schema's `$id` ends with its version. Fields may be added to a version; a field
that is removed, or means something else, makes the next.
"""

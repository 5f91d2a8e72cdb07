"""The checks, one subject a module. Each takes in records as they are read, and settles the rest at the end.

None of them looks at a record twice: what is needed later is kept in a few words.
"""

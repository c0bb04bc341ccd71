"""Numbered documents, processes that write, read and are killed, and checks that nothing was lost or torn.

Shared by `eval/crash.py`, `eval/readers.py` and the tests of the collection.
"""

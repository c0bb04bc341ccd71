"""The loss terms that heads share, one family a file; each knows tensors only, no head and no loop."""

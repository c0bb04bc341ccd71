"""The loss terms that heads share, one family a file; each knows tensors only, no head and no loop.

An `Objective` (`base.py`) is a term of a loss over a batch, with what it alone needs: a decoder, a
discriminator, a memory. `registry.py` names them, `schedules.py` changes their weights as training goes on.
Equation numbers are those of the survey of deep text hashing (He et al. 2025), unless a paper is named.
"""

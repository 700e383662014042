"""Reward terms: each looks at a batch of samples and gives a number, or ``None``, for each of them.

Nothing here needs torch: terms can run on machines and in processes that hold no model.
"""

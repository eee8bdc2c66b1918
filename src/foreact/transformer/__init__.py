"""The trained network: two streams of tokens, joined in every layer by one attention.

`model` holds the forward that training and inference share; `masks` and `cache` are the only difference.
"""

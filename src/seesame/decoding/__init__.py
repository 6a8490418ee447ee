"""Strangers' pictures are decoded in processes that can be killed and have nothing to lose."""

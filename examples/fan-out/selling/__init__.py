"""Sellers, some of which are slow or out of order."""

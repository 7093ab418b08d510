"""Signed package indexes of distributions -> packages that the resolver can choose from."""

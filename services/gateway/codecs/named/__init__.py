"""Inputs with names and kinds of their own, such as the columns of a table, in JSON and CSV."""

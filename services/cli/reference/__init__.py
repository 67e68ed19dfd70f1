"""The reference pages of docs/, which are written from the code."""

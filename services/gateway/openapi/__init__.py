"""The OpenAPI document: of views that describe themselves, and of ``protocols``, which speaks for the others.

All but ``views`` is loaded by the first who asks for the document.
"""

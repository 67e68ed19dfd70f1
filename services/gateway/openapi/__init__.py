"""The OpenAPI document: from the views' descriptions, and from ``protocols`` for the inference protocols.

All but ``views`` is loaded by the first request for the document.
"""

"""The OpenAPI document: ``operations`` says what each view takes and answers, files named like views in what form.

All but ``views`` is loaded by the first who asks for the document.
"""

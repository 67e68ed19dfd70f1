"""Bearer tokens of an OpenID Connect issuer, beside API keys. Loads PyJWT only where an issuer is set."""

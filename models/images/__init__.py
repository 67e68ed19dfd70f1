"""Images as files hold them, to pixels as a model takes them."""

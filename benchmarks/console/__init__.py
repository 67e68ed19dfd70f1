"""How long a page of the console takes until it can be used, and what it loads, with nothing cached."""

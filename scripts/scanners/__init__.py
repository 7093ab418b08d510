"""What `scripts.scan` looks at, one module for each kind of thing; and what becomes of what was found."""

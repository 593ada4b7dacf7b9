"""Which explanation can be trusted, asked of the user's own pictures: `gh.evaluate`."""

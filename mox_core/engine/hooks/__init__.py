"""The session hooks of `ModelSpec.hooks`: who calls them, and what they are given."""

"""`mox report`: trainings as a page."""

"""`FeedSessionRunHook` (the manual's chapter 4.5.1): what is fed is what the step computes with."""

"""Folders on remote stores: `s3://bucket/flowers` and the like, through what plugins offer for a scheme."""

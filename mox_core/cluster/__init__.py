"""The processes of a distributed job: who they are, how they find each other, and who has gone.

No TensorFlow is imported here.
"""

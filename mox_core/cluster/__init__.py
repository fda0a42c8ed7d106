"""The processes of a distributed job: their addresses, the rendezvous before TensorFlow starts, and lost processes.

TensorFlow is not imported here.
"""

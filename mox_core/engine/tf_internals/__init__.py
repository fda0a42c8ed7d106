"""The private ground of TensorFlow and Keras that mox reads; beside `tf_patches`, no other module of the engine does.

What is changed here belongs to the run (its graphs, its optimizers) or lasts as long as a `with` block.
`docs/tensorflow-internals.md` lists every name with its test.
"""

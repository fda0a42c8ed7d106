"""Access to private names of TensorFlow and Keras; beside `tf_patches`, no other module of the engine has it.

What is changed here belongs to the run (its graphs, its optimizers) or lasts as long as a `with` block.
`docs/tensorflow-internals.md` lists every name with its test.
"""

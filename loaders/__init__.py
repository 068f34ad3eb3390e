"""Use a dataset: the streaming loader. With the demo, the only package that imports torch."""

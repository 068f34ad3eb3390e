"""`holdfast demo`: the whole path on one machine, while peers die and lie."""

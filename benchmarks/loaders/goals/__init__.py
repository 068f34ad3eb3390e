"""Goals of the loader that are no cell of the table, one module each: `goals(setting)` measures them."""

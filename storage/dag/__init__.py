"""DAGs: the codecs, layouts and walks of IPFS. Pure and bounded: bytes in, typed values out."""

"""Files on the loop: what `noria.open` gives, and what it is made of."""

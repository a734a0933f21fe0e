"""The steps from which the life of a vimage is made; ``kinds`` has the table of all."""

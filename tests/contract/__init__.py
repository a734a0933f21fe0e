"""The contract of ``vimage.kernel``, carried out on every host there is."""

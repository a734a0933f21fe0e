"""The contract of ``vimage.kernel`` carried out on FreeBSD 13.2 to 15, amd64 and arm64.

``host.FreeBSD`` is the kernel, ``processes.HelperProcesses`` starts commands.
Importing this package, and the modules that only encode and decode, needs no FreeBSD.
"""

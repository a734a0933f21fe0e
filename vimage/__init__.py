"""vimage: the boot service for VNET jails wired with netgraph(4)."""

__version__ = "2.0.0"

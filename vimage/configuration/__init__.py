"""From rc.conf to a `Configuration`: text in, frozen data and every problem out."""

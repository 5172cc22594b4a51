"""Node IPAM: gives nodes that come without one a range of addresses for their pods."""

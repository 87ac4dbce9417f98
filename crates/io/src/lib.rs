//! Ports: TAP, AF_PACKET, unix sockets, test ports.

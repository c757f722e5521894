// Which machines on the network a picture may be fetched from: those that everybody can reach. An
// address that only this machine, its own network or its provider's can reach would let a client
// look, through the gateway, at what was never meant for it. PURE.
#ifndef WATTLAW_GATEWAY_PICTURE_ADDRESS_H
#define WATTLAW_GATEWAY_PICTURE_ADDRESS_H

#include <stdbool.h>
#include <sys/socket.h>

// False for private, shared (CGNAT), loopback, link-local, multicast, documentation, benchmarking
// and reserved addresses, for IPv6 ones that stand for such an IPv4 address (mapped, NAT64) or hide
// one (6to4, Teredo), and for all that is neither IPv4 nor IPv6.
bool picture_address_is_public(const struct sockaddr *address);

#endif

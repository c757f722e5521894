#include "gateway/picture_address.h"

#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct block4 {
    uint8_t first[4];
    unsigned n_bits;
};

struct block6 {
    uint8_t first[16];
    unsigned n_bits;
};

// IANA's registry of special-purpose IPv4 addresses; multicast and what is reserved above it.
static const struct block4 NOT_PUBLIC4[] = {
    {{0, 0, 0, 0}, 8},        {{10, 0, 0, 0}, 8},     {{100, 64, 0, 0}, 10},
    {{127, 0, 0, 0}, 8},      {{169, 254, 0, 0}, 16}, {{172, 16, 0, 0}, 12},
    {{192, 0, 0, 0}, 24},     {{192, 0, 2, 0}, 24},   {{192, 31, 196, 0}, 24},
    {{192, 52, 193, 0}, 24},  {{192, 88, 99, 0}, 24}, {{192, 168, 0, 0}, 16},
    {{192, 175, 48, 0}, 24},  {{198, 18, 0, 0}, 15},  {{198, 51, 100, 0}, 24},
    {{203, 0, 113, 0}, 24},   {{224, 0, 0, 0}, 4},    {{240, 0, 0, 0}, 4},
    {{168, 63, 129, 16}, 32}, // looks public, but is a cloud provider's own service for its
                              // machines
};

// Of IPv6, 2000::/3 is what is given out to the public; these parts of it are not. All else
// (loopback, fc00::/7, fe80::/10, ff00::/8, 100::/64...) lies outside.
static const struct block6 PUBLIC6 = {{0x20}, 3};
static const struct block6 NOT_PUBLIC6[] = {
    {{0x20, 0x01}, 23},                // protocols: Teredo, ORCHID, benchmarking
    {{0x20, 0x01, 0x0d, 0xb8}, 32},    // documentation
    {{0x20, 0x02}, 16},                // 6to4
    {{0x26, 0x20, 0, 0x4f, 0x80}, 48}, // AS112
    {{0x3f, 0xff}, 20},                // documentation
};

// What stands for an IPv4 address, which is in the last four bytes.
static const struct block6 STANDS_FOR4[] = {
    {{[10] = 0xff, [11] = 0xff}, 96}, // mapped
    {{0, 0x64, 0xff, 0x9b}, 96},      // NAT64
};

static bool is_within(const uint8_t *address, const uint8_t *first, unsigned n_bits) {
    size_t n_bytes = n_bits / 8;
    unsigned rest = n_bits % 8;
    return memcmp(address, first, n_bytes) == 0 &&
           (rest == 0 || (address[n_bytes] ^ first[n_bytes]) >> (8 - rest) == 0);
}

static bool is_public4(const uint8_t address[4]) {
    for (size_t i = 0; i < sizeof NOT_PUBLIC4 / sizeof *NOT_PUBLIC4; i++) {
        if (is_within(address, NOT_PUBLIC4[i].first, NOT_PUBLIC4[i].n_bits)) {
            return false;
        }
    }
    return true;
}

static bool is_public6(const uint8_t address[16]) {
    for (size_t i = 0; i < sizeof STANDS_FOR4 / sizeof *STANDS_FOR4; i++) {
        if (is_within(address, STANDS_FOR4[i].first, STANDS_FOR4[i].n_bits)) {
            return is_public4(address + 12);
        }
    }
    for (size_t i = 0; i < sizeof NOT_PUBLIC6 / sizeof *NOT_PUBLIC6; i++) {
        if (is_within(address, NOT_PUBLIC6[i].first, NOT_PUBLIC6[i].n_bits)) {
            return false;
        }
    }
    return is_within(address, PUBLIC6.first, PUBLIC6.n_bits);
}

bool picture_address_is_public(const struct sockaddr *address) {
    if (address->sa_family == AF_INET) {
        struct sockaddr_in in;
        memcpy(&in, address, sizeof in);
        return is_public4((const uint8_t *)&in.sin_addr);
    }
    if (address->sa_family == AF_INET6) {
        struct sockaddr_in6 in6;
        memcpy(&in6, address, sizeof in6);
        return is_public6(in6.sin6_addr.s6_addr);
    }
    return false;
}

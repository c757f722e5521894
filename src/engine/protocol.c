#include "engine/protocol.h"

struct frame_row {
    const char *name;
    uint32_t max_bytes;
    uint16_t type;
    char direction;
};

static const struct frame_row ROWS[] = {
#define X(suffix, number, max_bytes, direction, name) {name, max_bytes, number, direction},
    ENGINE_FRAME_LIST(X)
#undef X
};

static const struct frame_row *row_of(uint16_t type) {
    for (size_t i = 0; i < sizeof ROWS / sizeof ROWS[0]; i++) {
        if (ROWS[i].type == type) {
            return &ROWS[i];
        }
    }
    return NULL;
}

uint32_t engine_frame_max_bytes(uint16_t type) {
    const struct frame_row *row = row_of(type);
    return row ? row->max_bytes : 0;
}

const char *engine_frame_name(uint16_t type) {
    const struct frame_row *row = row_of(type);
    return row ? row->name : "unknown";
}

char engine_frame_direction(uint16_t type) {
    const struct frame_row *row = row_of(type);
    return row ? row->direction : 0;
}

static void put_u16(unsigned char *out, uint16_t value) {
    out[0] = (unsigned char)(value & 0xff);
    out[1] = (unsigned char)(value >> 8);
}

static void put_u32(unsigned char *out, uint32_t value) {
    put_u16(out, (uint16_t)(value & 0xffff));
    put_u16(out + 2, (uint16_t)(value >> 16));
}

static uint16_t get_u16(const unsigned char *in) {
    return (uint16_t)(in[0] | in[1] << 8);
}

static uint32_t get_u32(const unsigned char *in) {
    return (uint32_t)get_u16(in) | (uint32_t)get_u16(in + 2) << 16;
}

void engine_header_encode(const struct engine_header *header,
                          unsigned char out[ENGINE_HEADER_BYTES]) {
    put_u32(out, ENGINE_MAGIC);
    put_u16(out + 4, ENGINE_VERSION);
    put_u16(out + 6, header->type);
    put_u32(out + 8, header->request_id);
    put_u32(out + 12, header->payload_bytes);
}

enum wl_status engine_header_decode(const unsigned char in[ENGINE_HEADER_BYTES], char from,
                                    struct engine_header *out, struct wl_err *err) {
    uint32_t magic = get_u32(in);
    if (magic != ENGINE_MAGIC) {
        return wl_err_set(err, WL_PROTOCOL, "frame: expected magic 0x%08x, found 0x%08x",
                          (unsigned)ENGINE_MAGIC, magic);
    }
    uint16_t version = get_u16(in + 4);
    if (version != ENGINE_VERSION) {
        return wl_err_set(err, WL_PROTOCOL,
                          "frame: expected protocol version %d, found %d; wattlaw and "
                          "wattlaw-engine are from different builds, install them together",
                          ENGINE_VERSION, version);
    }
    uint16_t type = get_u16(in + 6);
    const struct frame_row *row = row_of(type);
    if (!row || row->direction != from) {
        return wl_err_set(err, WL_PROTOCOL, "frame: type %d (%s) is not one this side may receive",
                          type, engine_frame_name(type));
    }
    uint32_t payload_bytes = get_u32(in + 12);
    if (payload_bytes > row->max_bytes) {
        return wl_err_set(err, WL_PROTOCOL, "frame '%s': %u bytes announced, at most %u allowed",
                          row->name, payload_bytes, row->max_bytes);
    }
    *out = (struct engine_header){
        .type = type, .request_id = get_u32(in + 8), .payload_bytes = payload_bytes};
    return WL_OK;
}

/* The five base64 functions that perf_analyzer is linked against (libb64.so.0d).
 *
 * No package index carries that library, and perf_analyzer only calls it for CUDA shared memory
 * over HTTP, but the dynamic linker wants it there. This is our own implementation behind the same
 * binary interface: the caller owns the state, 12 bytes to encode and 8 to decode. Unlike the
 * original it never writes newlines.
 */
#include <stdint.h>

typedef struct {
  uint32_t bits;    /* input bytes not yet written, newest in the low bits */
  int32_t held;     /* how many of them: 0, 1 or 2 */
  int32_t reserved;
} encode_state;

typedef struct {
  uint32_t bits;    /* the low `held` bits are decoded and not yet written */
  int32_t held;     /* 0, 2, 4 or 6 */
} decode_state;

_Static_assert(sizeof(encode_state) == 12, "callers reserve 12 bytes");
_Static_assert(sizeof(decode_state) == 8, "callers reserve 8 bytes");

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void base64_init_encodestate(encode_state *state) { *state = (encode_state){0, 0, 0}; }

int base64_encode_block(const char *plain, int length, char *code, encode_state *state) {
  char *out = code;
  for (int i = 0; i < length; i++) {
    state->bits = (state->bits << 8) | (uint8_t)plain[i];
    if (++state->held == 3) {
      for (int shift = 18; shift >= 0; shift -= 6) *out++ = alphabet[(state->bits >> shift) & 63];
      state->bits = 0;
      state->held = 0;
    }
  }
  return (int)(out - code);
}

int base64_encode_blockend(char *code, encode_state *state) {
  if (state->held == 0) return 0;
  uint32_t bits = state->bits << (8 * (3 - state->held));
  code[0] = alphabet[(bits >> 18) & 63];
  code[1] = alphabet[(bits >> 12) & 63];
  code[2] = state->held == 2 ? alphabet[(bits >> 6) & 63] : '=';
  code[3] = '=';
  base64_init_encodestate(state);
  return 4;
}

void base64_init_decodestate(decode_state *state) { *state = (decode_state){0, 0}; }

int base64_decode_block(const char *code, int length, char *plain, decode_state *state) {
  char *out = plain;
  for (int i = 0; i < length; i++) {
    int value = -1;
    for (int k = 0; k < 64; k++) {
      if (alphabet[k] == code[i]) { value = k; break; }
    }
    if (value < 0) continue; /* padding and line breaks */
    state->bits = (state->bits << 6) | (uint32_t)value;
    state->held += 6;
    if (state->held >= 8) {
      state->held -= 8;
      *out++ = (char)(state->bits >> state->held);
      state->bits &= (1u << state->held) - 1;
    }
  }
  return (int)(out - plain);
}

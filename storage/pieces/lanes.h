/* WIDTH hashes at once, one in each 32-bit lane of a vector (FIPS 180-4). Included once for each instruction set: LANES
 * is the name of the function to define, ISA the attribute that names the instruction set. */

ISA static void LANES(const uint8_t *nodes, uint8_t *parents)
{
    typedef uint32_t vec __attribute__((vector_size(4 * WIDTH)));
    vec w[16], s[8];
    for (int i = 0; i < 16; i++)
        for (int lane = 0; lane < WIDTH; lane++) {
            uint32_t word;
            memcpy(&word, nodes + 64 * lane + 4 * i, 4);
            w[i][lane] = from_big(word);
        }
    for (int i = 0; i < 8; i++)
        s[i] = (vec){0} + INITIAL[i];
    for (int block = 0; block < 2; block++) {
        vec a = s[0], b = s[1], c = s[2], d = s[3], e = s[4], f = s[5], g = s[6], h = s[7];
        for (int i = 0; i < 64; i++) {
            vec k = (vec){0};
            if (block) { /* the padding of 64 bytes is always the same: its words are in the constants */
                k += PADDING_ROUND[i];
            } else {
                if (i >= 16) {
                    vec x = w[(i + 1) & 15], y = w[(i + 14) & 15];
                    w[i & 15] += (RIGHT(x, 7) ^ RIGHT(x, 18) ^ (x >> 3)) + w[(i + 9) & 15]
                               + (RIGHT(y, 17) ^ RIGHT(y, 19) ^ (y >> 10));
                }
                k += ROUND[i];
                k += w[i & 15];
            }
            vec t = h + (RIGHT(e, 6) ^ RIGHT(e, 11) ^ RIGHT(e, 25)) + (g ^ (e & (f ^ g))) + k;
            vec u = (RIGHT(a, 2) ^ RIGHT(a, 13) ^ RIGHT(a, 22)) + ((a & b) | (c & (a | b)));
            h = g, g = f, f = e, e = d + t, d = c, c = b, b = a, a = t + u;
        }
        s[0] += a, s[1] += b, s[2] += c, s[3] += d, s[4] += e, s[5] += f, s[6] += g, s[7] += h;
    }
    for (int lane = 0; lane < WIDTH; lane++)
        for (int i = 0; i < 8; i++) {
            uint32_t word = from_big(s[i][lane]);
            memcpy(parents + 32 * lane + 4 * i, &word, 4);
        }
}

#undef LANES
#undef WIDTH
#undef ISA

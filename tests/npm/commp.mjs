// PieceCIDs by data-segment: on standard input payloads, each behind its length (4 bytes, little-endian); a line for each.
import { Piece } from "@web3-storage/data-segment"

let held = Buffer.alloc(0)
for await (const part of process.stdin) {
  held = Buffer.concat([held, part])
  while (held.length >= 4 && held.length >= 4 + held.readUInt32LE(0)) {
    const end = 4 + held.readUInt32LE(0)
    const piece = Piece.fromPayload(new Uint8Array(held.subarray(4, end)))
    process.stdout.write(`${piece.toString()} ${piece.toInfo().link.toString()}\n`)
    held = held.subarray(end)
  }
}

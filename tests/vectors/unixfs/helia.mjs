// node helia.mjs SOURCE OUT: imports SOURCE with several options, writes OUT/helia-NAME.car and prints a JSON line for each.
import fs from 'node:fs'
import path from 'node:path'
import { CarWriter } from '@ipld/car/writer'
import { CID } from 'multiformats/cid'
import { importer } from 'ipfs-unixfs-importer'
import { fixedSize } from 'ipfs-unixfs-importer/chunker'
import { balanced, trickle } from 'ipfs-unixfs-importer/layout'

const [source, out] = process.argv.slice(2)
const CASES = {
  'default': {},
  'small-chunks': { chunker: fixedSize({ chunkSize: 512 }), layout: balanced({ maxChildrenPerNode: 4 }) },
  'trickle': { chunker: fixedSize({ chunkSize: 512 }), layout: trickle({ maxChildrenPerNode: 4 }) },
  'trickle-nodes': { chunker: fixedSize({ chunkSize: 512 }), layout: trickle({ maxChildrenPerNode: 4 }), rawLeaves: false, cidVersion: 0 },
  'unixfs-leaves': { chunker: fixedSize({ chunkSize: 512 }), rawLeaves: false, leafType: 'file', cidVersion: 0 },
  'raw-type-leaves': { chunker: fixedSize({ chunkSize: 512 }), rawLeaves: false, leafType: 'raw', cidVersion: 1 },
  'wrapped-leaf': { reduceSingleLeafToSelf: false },
  'mode-mtime': { attributes: true },
  'sharded': { shardSplitThresholdBytes: 1, chunker: fixedSize({ chunkSize: 1024 }) },
  'sharded-16': { shardSplitThresholdBytes: 1, shardFanoutBits: 4, chunker: fixedSize({ chunkSize: 1024 }) },
  'profile-v0-2015': { profile: 'unixfs-v0-2015' },
  'profile-v1-2025': { profile: 'unixfs-v1-2025' }
}

function * files (folder, attributes) {
  for (const name of fs.readdirSync(folder, { recursive: true }).sort()) {
    const full = path.join(folder, name)
    if (fs.statSync(full).isFile()) {
      const extra = attributes ? { mode: 0o640, mtime: { secs: 1700000000n, nsecs: 5 } } : {}
      yield { path: `src/${name}`, content: [fs.readFileSync(full)], ...extra }
    }
  }
}

for (const [name, { attributes, ...options }] of Object.entries(CASES)) {
  const blocks = new Map()
  const store = { put: async (cid, bytes) => { blocks.set(cid.toString(), [cid, bytes]); return cid }, get: async function * (cid) { yield blocks.get(cid.toString())[1] }, has: async cid => blocks.has(cid.toString()) }
  let root
  for await (const entry of importer(files(source, attributes), store, options)) root = entry.cid
  const { writer, out: stream } = CarWriter.create([root])
  const chunks = []
  const reading = (async () => { for await (const chunk of stream) chunks.push(chunk) })()
  for (const [cid, bytes] of blocks.values()) await writer.put({ cid: CID.asCID(cid), bytes })
  await writer.close()
  await reading
  fs.writeFileSync(path.join(out, `helia-${name}.car`), Buffer.concat(chunks))
  console.log(JSON.stringify({ car: `helia-${name}.car`, program: 'ipfs-unixfs-importer 17.1.1', command: `helia.mjs: ${name}`, root: root.toString(), tree: 'src' }))
}

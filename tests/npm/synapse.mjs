// A publisher that is not ours: synapse-core uploads a piece, has a data set made of it, adds a second, reads both back.
import * as pdp from '@filoz/synapse-core/pdp-verifier'
import * as SP from '@filoz/synapse-core/sp'
import { downloadAndValidate } from '@filoz/synapse-core/piece'
import { calibration } from '@filoz/synapse-core/chains'
import { createWalletClient, http } from 'viem'
import { privateKeyToAccount } from 'viem/accounts'

const given = JSON.parse(process.argv[1])
const at = (address, from) => ({ ...from, address })
const contracts = calibration.contracts
const chain = {
  ...calibration,
  id: given.chainId,
  rpcUrls: { default: { http: [given.rpc] } },
  contracts: {
    ...contracts,
    fwss: at(given.service, contracts.fwss),
    fwssView: at(given.service, contracts.fwssView),
    pdp: at(given.verifier, contracts.pdp),
    filecoinPay: at(given.payments, contracts.filecoinPay),
    serviceProviderRegistry: at(given.registry, contracts.serviceProviderRegistry),
    sessionKeyRegistry: at(given.sessions, contracts.sessionKeyRegistry),
    usdfc: at(given.token, contracts.usdfc),
  },
}
const account = privateKeyToAccount(given.key)
const client = createWalletClient({ account, chain, transport: http(given.rpc) })
const mine = () => client.request({ method: 'anvil_mine', params: ['0x1'] })
const serviceURL = given.url
const payload = (n, seed) => Uint8Array.from({ length: n }, (_, i) => (i * seed + (i >> 8)) & 255)

const found = {}
const payloads = [payload(300_000, 7), payload(1000, 13)]
const pieces = []
for (const data of payloads) {
  const { pieceCid } = await SP.uploadPieceStreaming({ serviceURL, data: new Blob([data]).stream() })
  await SP.findPiece({ serviceURL, pieceCid })
  pieces.push(pieceCid)
}
const made = await SP.createDataSetAndAddPieces(client, {
  serviceURL, payee: given.payee, payer: account.address, pieces: [{ pieceCid: pieces[0] }], metadata: { source: 'other' }, clientDataSetId: 77n,
})
await mine()
const created = await SP.waitForCreateDataSetAddPieces({ statusUrl: made.statusUrl, pollInterval: 10 })
const more = await SP.addPieces(client, {
  serviceURL, dataSetId: created.dataSetId, clientDataSetId: 77n, pieces: [{ pieceCid: pieces[1] }],
})
await mine()
const added = await SP.waitForAddPieces({ statusUrl: more.statusUrl, pollInterval: 10 })
const active = await pdp.getActivePieces(client, { dataSetId: created.dataSetId })
found.pieces = pieces.map(String)
found.active = active.pieces.map((one) => String(one.cid ?? one.pieceCid ?? one))
found.ids = [...created.piecesIds, ...added.confirmedPieceIds].map(Number)
found.dataSetId = Number(created.dataSetId)
const read = await downloadAndValidate({ url: `${serviceURL}/piece/${pieces[0]}`, expectedPieceCid: pieces[0] })
found.same = Buffer.compare(Buffer.from(read), Buffer.from(payloads[0])) === 0
try {
  await SP.uploadPieceStreaming({ serviceURL, data: new Blob([payloads[1]]).stream(), pieceCid: pieces[0] })
  found.wrong = 'taken'
} catch { found.wrong = 'refused' }
console.log(JSON.stringify(found))

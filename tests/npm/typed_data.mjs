// What synapse-core signs (EIP-712) for given values: one JSON object on standard output.
import * as Piece from '@filoz/synapse-core/piece'
import * as typed from '@filoz/synapse-core/typed-data'
import * as session from '@filoz/synapse-core/session-key'
import { calibration } from '@filoz/synapse-core/chains'
import { createWalletClient, http } from 'viem'
import { privateKeyToAccount } from 'viem/accounts'

const given = JSON.parse(process.argv[1])
const client = createWalletClient({ account: privateKeyToAccount(given.key), chain: calibration, transport: http('http://127.0.0.1:9') })
const pieces = given.pieces.map((cid) => ({ pieceCid: Piece.parse(cid) }))
const metadata = [{ key: 'source', value: 'holdfast' }, { key: 'withIPFSIndexing', value: '' }]
const about = { clientDataSetId: 12345n, payee: given.payee, metadata, pieces, nonce: 67890n }
console.log(JSON.stringify({
  create: await typed.signCreateDataSet(client, about),
  add: await typed.signAddPieces(client, about),
  both: await typed.signCreateDataSetAndAddPieces(client, about),
  removal: await typed.signSchedulePieceRemovals(client, { clientDataSetId: 12345n, pieceIds: [1n, 3n] }),
  CreateDataSet: session.CreateDataSetPermission,
  AddPieces: session.AddPiecesPermission,
  SchedulePieceRemovals: session.SchedulePieceRemovalsPermission,
}))

// node attestation.mjs ANCHOR FILE...
// Verifies what `subnode attestation show --json` prints, by an anchor that the caller trusts.
import { readFileSync } from "node:fs";
import { secp256k1 } from "@noble/curves/secp256k1";
import { TypedDataEncoder, computeAddress, getAddress, getBytes } from "ethers";

const types = Object.entries({
  Anchor: "bytes32 network,uint64 chain,bytes32 genesis,uint64 epoch,bytes32 committee",
  Attestation:
    "bytes32 network,uint64 chain,bytes32 genesis,uint64 epoch,uint64 height,bytes blockId,bytes32 outboxRoot,uint64 outboxCount,uint64 timeMs,bytes32 extra",
  Committee: "bytes32[] keys,address[] attesters,uint64[] powers",
  Extra: "bytes32 delivered,bytes32 nextCommittee,bytes32 claims",
}).map(([name, fields]) => ({ [name]: fields.split(",").map((field) => ({ type: field.split(" ")[0], name: field.split(" ")[1] })) }));
const [ANCHOR, ATTESTATION, COMMITTEE, EXTRA] = types;
const hash = (type, value) => TypedDataEncoder.hashStruct(Object.keys(type)[0], type, value);
const refuse = (reason) => {
  throw new Error(reason);
};

// Returns the anchor of the next epoch, where the attestation names its committee.
export function verify({ attestation, extra, committee, signatures }, anchor) {
  const column = (name) => committee.map((member) => member[name]);
  const lists = { keys: column("key"), attesters: column("attester"), powers: column("power") };
  if (hash(ANCHOR, { ...attestation, committee: hash(COMMITTEE, lists) }) !== anchor) refuse("another chain, epoch or committee");
  if (hash(EXTRA, extra) !== attestation.extra) refuse("another extra");
  const digest = getBytes(TypedDataEncoder.hash({ name: "Subnode attestation", version: "1" }, ATTESTATION, attestation));
  let [last, power] = [-1, 0n];
  for (const { member, signature } of signatures) {
    if (!Number.isInteger(member) || member <= last || member >= committee.length) refuse(`member ${member} is out of order`);
    const bytes = getBytes(signature);
    if (bytes.length !== 65 || (bytes[64] !== 27 && bytes[64] !== 28)) refuse(`the signature of member ${member} is not r, s, v`);
    const parsed = secp256k1.Signature.fromCompact(bytes.slice(0, 64)).addRecoveryBit(bytes[64] - 27);
    if (parsed.hasHighS()) refuse(`the signature of member ${member} has a high s`);
    const signer = computeAddress("0x" + parsed.recoverPublicKey(digest).toHex(false));
    if (signer !== getAddress(committee[member].attester)) refuse(`the signature of member ${member} is another's`);
    last = member;
    power += BigInt(committee[member].power);
  }
  const total = committee.reduce((sum, member) => sum + BigInt(member.power), 0n);
  if (power * 3n <= total * 2n) refuse(`signed by ${power} of ${total}, which is not more than two thirds`);
  const next = { ...attestation, epoch: BigInt(attestation.epoch) + 1n, committee: extra.nextCommittee };
  return BigInt(next.committee) === 0n ? "none" : hash(ANCHOR, next);
}

const [anchor, ...files] = process.argv.slice(2);
for (const file of files) {
  try {
    const signed = JSON.parse(readFileSync(file));
    const next = verify(signed, anchor);
    console.log(`valid: block ${signed.attestation.blockId} at height ${signed.attestation.height}, next anchor ${next}`);
  } catch (error) {
    console.log(`refused: ${error.message.split("\n")[0]}`);
    process.exitCode = 1;
  }
}

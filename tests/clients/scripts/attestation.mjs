// node attestation.mjs COMMITTEE_HASH FILE...
// Verifies what `subnode attestation show --json` prints, by the hash of a committee that the caller trusts.
import { readFileSync } from "node:fs";
import { secp256k1 } from "@noble/curves/secp256k1";
import { TypedDataEncoder, computeAddress, getAddress, getBytes } from "ethers";

const type = (fields) => fields.split(",").map((field) => ({ type: field.split(" ")[0], name: field.split(" ")[1] }));
const ATTESTATION = type(
  "bytes32 network,uint64 chain,bytes32 genesis,uint64 epoch,uint64 height,bytes blockId,bytes32 outboxRoot,uint64 outboxCount,uint64 timeMs,bytes32 extra",
);
const COMMITTEE = type("bytes32[] keys,address[] attesters,uint64[] powers");
const EXTRA = type("bytes32 delivered,bytes32 nextCommittee,bytes32 claims");
const refuse = (reason) => {
  throw new Error(reason);
};

export function verify({ attestation, extra, committee, signatures }, trusted) {
  const column = (name) => committee.map((member) => member[name]);
  const lists = { keys: column("key"), attesters: column("attester"), powers: column("power") };
  if (TypedDataEncoder.hashStruct("Committee", { Committee: COMMITTEE }, lists) !== trusted) refuse("another committee");
  if (TypedDataEncoder.hashStruct("Extra", { Extra: EXTRA }, extra) !== attestation.extra) refuse("another extra");
  const domain = { name: "Subnode attestation", version: "1" };
  const digest = getBytes(TypedDataEncoder.hash(domain, { Attestation: ATTESTATION }, attestation));
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
}

const [trusted, ...files] = process.argv.slice(2);
for (const file of files) {
  try {
    const signed = JSON.parse(readFileSync(file));
    verify(signed, trusted);
    const { epoch, height, blockId } = signed.attestation;
    console.log(`valid: block ${blockId} at height ${height}, epoch ${epoch}`);
  } catch (error) {
    console.log(`refused: ${error.message.split("\n")[0]}`);
    process.exitCode = 1;
  }
}
